"""The next self-training round: select confident predictions, merge them with the annotations of the round before."""

from cutler_pl.self_training.merge import Merge, merge, merge_annotations
from cutler_pl.self_training.select import select

__all__ = ["Merge", "merge", "merge_annotations", "select"]
