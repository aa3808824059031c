"""One file per model family, found by `icdbench.registry`, which scans this folder; nothing else names a model."""
