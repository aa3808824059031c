"""Web pages: `app` is the prediction page, `live_report` the report of runs in progress; `web` serves either."""

__all__ = ["app", "live_report", "web"]
