"""Kafka, Redis and Weaviate as native processes on loopback, without Docker and without system toolchains."""
