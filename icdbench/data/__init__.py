"""Data sets: sources by name (`datasets`), and the way from their documents to batches."""

__all__ = ["batches", "cache", "datasets", "describe", "encode", "encoders", "export", "word_vectors"]
