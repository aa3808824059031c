"""One file per model family. `icdbench.registry` scans this folder; nothing else names a model."""
