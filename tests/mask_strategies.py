"""Hypothesis strategy of small masks."""

import numpy as np
from hypothesis import strategies as st
from jaxtyping import Bool


@st.composite
def masks(draw: st.DrawFn) -> Bool[np.ndarray, "height width"]:
    """Any pixels, or any blocks of them."""
    height, width = draw(st.integers(1, 12)), draw(st.integers(1, 12))
    pixels = draw(st.lists(st.booleans(), min_size=height * width, max_size=height * width))
    mask = np.array(pixels).reshape(height, width)
    return mask if draw(st.booleans()) else np.kron(mask, np.ones((2, 3), dtype=bool))
