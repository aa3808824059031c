"""Web pages: `app` is the prediction page, `live_report` the report of runs in progress, `web` serves either; `explanation` is a file."""

__all__ = ["app", "explanation", "live_report", "web"]
