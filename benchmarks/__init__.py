"""Benchmarks: each is a module with a command, prints a table and writes the same JSON form (`benchmarks.report`)."""
