"""Records of finished runs: their content, storage, comparability, and all of them as one table (`frame`)."""

from icdbench.records.frame import frame
from icdbench.records.record import Explained, RunRecord, Trust

__all__ = ["Explained", "RunRecord", "Trust", "comparable", "frame", "provenance", "sharing", "store"]
