"""Web pages: `app` (predictions) and `live_report` (runs in progress), which `web` serves, and `explanation`, a file."""

__all__ = ["app", "explanation", "live_report", "web"]
