"""What is shown of runs: tables, figures, the report, word clouds."""

__all__ = ["catalog", "comparison", "data_tables", "figures", "report", "tables", "trust", "word_clouds"]
