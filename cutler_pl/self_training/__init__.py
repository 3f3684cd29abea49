"""The next self-training round: select confident predictions, merge them with the annotations of the round before."""

from cutler_pl.self_training.merge import Merge, merge, merge_annotations
from cutler_pl.self_training.merge_files import merge_files
from cutler_pl.self_training.options import RoundOptions
from cutler_pl.self_training.select import select

__all__ = ["Merge", "RoundOptions", "merge", "merge_annotations", "merge_files", "select"]
