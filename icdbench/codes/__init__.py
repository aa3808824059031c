"""Code systems: ICD-9-CM and ICD-10 codes and titles, and the hierarchy above them."""

from icdbench.codes.hierarchy import Tree
from icdbench.codes.systems import CodingSystem

__all__ = ["CodingSystem", "Tree", "hierarchy", "icd9", "icd10", "names", "systems"]
