"""What tests read from a page of the report: its packed data, as the page's script unpacks them."""

from __future__ import annotations

import base64
import gzip
import json
import re
from typing import Any


def data_of(html: str) -> dict[str, Any]:
    """The data of each section of a report, by its id."""
    (packed,) = re.findall(r'<script type="application/gzip" id="data">(.*?)</script>', html)
    found: dict[str, Any] = json.loads(gzip.decompress(base64.b64decode(packed)))
    return found
