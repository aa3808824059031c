"""One file per source of documents; each registers the names under which users ask for its data."""
