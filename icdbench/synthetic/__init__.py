"""Generators of synthetic notes: the documents of `demo`, and tables in MIMIC-III's schema."""

MARKER = "synthetic.json"  # the file that marks a folder of synthetic tables

__all__ = ["MARKER", "documents", "tables"]
