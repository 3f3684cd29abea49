"""A window of matplotlib; here its backend without one."""

from types import SimpleNamespace

import numpy as np
import pytest

from cutler_pl.errors import ConfigError
from cutler_pl.visual.window import Window


@pytest.fixture(autouse=True)
def _display(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DISPLAY", ":99")


@pytest.mark.filterwarnings("ignore:FigureCanvasAgg is non-interactive")
def test_images_follow_each_other() -> None:
    """Of one size and of another, until it is closed."""
    with Window("title", backends=("agg",)) as window:
        for size in ((20, 30), (20, 30), (40, 30)):
            window.show(np.full((*size, 3), 7, dtype=np.uint8))
            assert window._shown.get_array().shape == (*size, 3)
        window._figure.canvas.callbacks.process("close_event", SimpleNamespace())
        assert not window.is_open
        window.show(np.zeros((50, 50, 3), dtype=np.uint8))
        assert window._shown.get_array().shape == (40, 30, 3)


def test_no_display_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("DISPLAY", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("sys.platform", "linux")
    with pytest.raises(ConfigError, match="show=true: there is no display here"):
        Window("title")


def test_no_toolkit_is_one_sentence() -> None:
    with pytest.raises(ConfigError, match="no toolkit that opens windows"):
        Window("title", backends=())
