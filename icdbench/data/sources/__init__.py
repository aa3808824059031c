"""Sources of documents, a file each, which registers its data sets by name (icdbench.data.source)."""
