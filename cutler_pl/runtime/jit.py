"""Compiling loops over numbers with numba, where some folder for the machine code can be written and where none can."""

import inspect
from collections.abc import Callable
from functools import cache
from typing import Any


@cache
def njit_cached(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compile with numba, once per process; keep the machine code on disk where some cache folder can be written."""
    import numba  # here, because it takes a second that most programs need not wait for

    plain = inspect.unwrap(function)  # without the shape checks that tests wrap around every function
    try:
        kernel: Callable[..., Any] = numba.njit(cache=True, nogil=True)(plain)
    except RuntimeError:  # numba finds no folder to write to: neither beside the file nor in the user's cache
        kernel = numba.njit(nogil=True)(plain)
    return kernel
