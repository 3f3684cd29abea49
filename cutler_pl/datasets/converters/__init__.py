"""From the original annotation formats of the recipe's datasets to class-agnostic COCO files."""

from cutler_pl.datasets.converters.layouts import CONVERTED, Download, Options, open_download
from cutler_pl.datasets.converters.records import ImageRecord, ObjectRecord, Record, SkippedRecord, Source
from cutler_pl.datasets.converters.write import ConversionReport, write_records

__all__ = [
    "CONVERTED",
    "ConversionReport",
    "Download",
    "ImageRecord",
    "ObjectRecord",
    "Options",
    "Record",
    "SkippedRecord",
    "Source",
    "open_download",
    "write_records",
]
