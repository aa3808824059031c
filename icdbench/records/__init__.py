"""Run records: what they hold, where they are stored, which are comparable, and all of them as one table."""

from icdbench.records.frame import frame
from icdbench.records.record import Explained, RunRecord, Trust

__all__ = ["Explained", "RunRecord", "Trust", "comparable", "frame", "provenance", "sharing", "store"]
