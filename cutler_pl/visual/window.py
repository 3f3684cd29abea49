"""A window that shows images one after the other, by matplotlib with whatever window toolkit is installed."""

import os
import sys
from collections.abc import Sequence
from types import TracebackType
from typing import Any

import numpy as np
from jaxtyping import UInt8

from cutler_pl.errors import ConfigError

_BACKENDS = ("macosx", "qtagg", "gtk4agg", "gtk3agg", "tkagg", "wxagg")


class Window:
    """Open until its user closes it; what is shown afterwards goes nowhere.

    Raises:
        ConfigError: This machine has no display, or no toolkit that opens windows.
    """

    def __init__(self, title: str, *, backends: Sequence[str] = _BACKENDS) -> None:
        if sys.platform.startswith("linux") and not (os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")):
            raise ConfigError("show=true: there is no display here; leave show out, the overlays are in the output")
        self._pyplot = _pyplot(backends)
        self._figure = self._pyplot.figure(title)
        self._axes = self._figure.add_axes((0, 0, 1, 1))
        self._axes.set_axis_off()
        self._shown: Any = None
        self.is_open = True
        self._figure.canvas.mpl_connect("close_event", self._on_close)

    def __enter__(self) -> "Window":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._pyplot.close(self._figure)

    def show(self, image: UInt8[np.ndarray, "height width 3"]) -> None:
        """Show an image in place of the last one."""
        if not self.is_open:
            return
        if self._shown is None or self._shown.get_size() != image.shape[:2]:
            self._axes.clear()
            self._axes.set_axis_off()
            self._shown = self._axes.imshow(image)
            self._figure.show()
        else:
            self._shown.set_data(image)
        self._figure.canvas.draw_idle()
        self._figure.canvas.flush_events()

    def _on_close(self, _: Any) -> None:
        self.is_open = False


def _pyplot(backends: Sequence[str]) -> Any:
    from matplotlib import pyplot

    for name in backends:
        try:
            pyplot.switch_backend(name)
        except ImportError:  # its toolkit is not installed, or finds no display
            continue
        return pyplot
    raise ConfigError(
        "show=true: no toolkit that opens windows is installed; pip install PyQt6, or leave show out: the overlays are "
        "in the output"
    )
