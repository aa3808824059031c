"""icdbench: published models for automated ICD coding under one data loader, one trainer and one metrics module."""

__version__ = "0.1.0"
