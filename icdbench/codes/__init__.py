"""Code systems: ICD-9-CM and ICD-10 codes and titles, and the hierarchy above them."""

from icdbench.codes.hierarchy import Tree

__all__ = ["Tree", "hierarchy", "icd9", "icd10"]
