"""One file per table of a paper: what is compared, on which data, and what was published."""
