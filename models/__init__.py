"""One file per model family, found by `icdbench.registry`, which scans this folder; nothing else names a model."""

# What every system has to beat, and what every comparison therefore shows: systems that are fitted in seconds.
FLOORS = ("keywords", "lr@l1")
