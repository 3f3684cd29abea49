"""From the original annotation formats of the recipe's datasets to class-agnostic COCO files."""

from cutler_pl.datasets.converters.downloads import CONVERTED, Download, Options, open_download
from cutler_pl.datasets.converters.records import Found, Marked, Photo, Record, Skipped
from cutler_pl.datasets.converters.write import ConversionReport, write_records

__all__ = [
    "CONVERTED",
    "ConversionReport",
    "Download",
    "Found",
    "Marked",
    "Options",
    "Photo",
    "Record",
    "Skipped",
    "open_download",
    "write_records",
]
