"""Labels in the formats of the tools that people label and train with: one module per format."""

from cutler_pl.datasets.formats.export import FORMATS, export_labels
from cutler_pl.datasets.formats.options import ExportOptions, FormatName

__all__ = ["FORMATS", "ExportOptions", "FormatName", "export_labels"]
