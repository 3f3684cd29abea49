"""Numba compilation, with the machine code cached on disk where a cache folder is writable."""

import inspect
from collections.abc import Callable
from functools import cache
from typing import Any


@cache
def njit_cached(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compile with numba, once per process; cache the machine code on disk where possible."""
    import numba  # here: it takes a second, and most programs do not need it

    plain = inspect.unwrap(function)  # without the shape checks that tests wrap around every function
    try:
        kernel: Callable[..., Any] = numba.njit(cache=True, nogil=True)(plain)
    except RuntimeError:  # numba finds no folder to write to: neither beside the file nor in the user's cache
        kernel = numba.njit(nogil=True)(plain)
    return kernel
