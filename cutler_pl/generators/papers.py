"""Where the generators come from, and which of their options is τ."""

from collections.abc import Mapping
from typing import Any

PAPERS = {
    "maskcut": "Wang et al., CutLER, CVPR 2023",
    "votecut": "Arica et al., CuVLER, CVPR 2024",
    "promerge": "Li and Shin, ProMerge, ECCV 2024",
    "uniap": "S2-UniSeg",
    "hassod": "Cao et al., HASSOD, NeurIPS 2023",
}
"""By the name of the generator."""

_TAUS = ("tau", "taus", "thresholds")


def tau_option(options: Mapping[str, Any]) -> str | None:
    """Which of a generator's options is the cosine, or list of cosines, that decides what is alike; None if none."""
    return next((name for name in _TAUS if name in options), None)
