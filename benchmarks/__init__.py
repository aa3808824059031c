"""One file per table or figure of a paper: what it compares, on which data, and the published numbers."""
