"""Tables, figures, the report and word clouds of runs."""

__all__ = ["catalog", "comparison", "data_tables", "figures", "report", "tables", "trust", "word_clouds"]
