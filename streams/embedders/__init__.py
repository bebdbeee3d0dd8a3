"""Texts to vectors: one protocol, one file per embedder."""
