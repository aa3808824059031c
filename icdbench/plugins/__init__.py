"""Python files that register something: read as text (`listing`) or executed (`loading`), whoever wrote them."""

__all__ = ["listing", "loading"]

from icdbench.plugins import listing, loading
