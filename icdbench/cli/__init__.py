"""The command line: each command is one call of the library and one print."""

__all__ = ["main"]
