"""Trained runs on new notes: bundles, predictions, explanations and measures of how far these can be trusted."""

__all__ = ["bundle", "explain", "faithfulness", "fhir", "hub", "notes", "onnx", "predict"]
