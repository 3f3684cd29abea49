from pathlib import Path

import matplotlib as mpl
import numpy as np
import pytest
from lightning.pytorch.loggers import CSVLogger
from PIL import Image

from cutler_pl.errors import DatasetNotFoundError
from cutler_pl.visual.curves import Curve, plot_curves, read_metrics, save_figure, select_curves

_TWO = {
    "detector": Curve(np.arange(50.0), np.linspace(3, 1, 50)),
    "after self-training": Curve(np.arange(50.0), np.linspace(2, 0.5, 50)),
}


def _write(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


def test_read_lightning_csv(tmp_path: Path) -> None:
    logger = CSVLogger(tmp_path, name="", version="")
    for step in (0, 20, 40):
        logger.log_metrics({"train/loss": 3.0 - step / 20}, step=step)
    logger.log_metrics({"val/AP50": 12.5}, step=40)
    logger.save()
    curves = read_metrics(tmp_path / "metrics.csv")
    assert list(curves) == ["train/loss", "val/AP50"]
    assert curves["train/loss"].steps.tolist() == [0, 20, 40]
    assert curves["train/loss"].values.tolist() == [3.0, 2.0, 1.0]
    assert curves["val/AP50"].steps.tolist() == [40]


def test_later_file_wins_repeated_steps(tmp_path: Path) -> None:
    first = _write(tmp_path / "a.csv", "epoch,step,loss\n0,0,3.0\n0,20,2.0\n0,40,9.0\n")
    second = _write(tmp_path / "b.csv", "epoch,step,loss\n0,40,1.5\n0,60,1.0\n")
    curve = read_metrics([first, second])["loss"]
    assert curve.steps.tolist() == [0, 20, 40, 60]
    assert curve.values.tolist() == [3.0, 2.0, 1.5, 1.0]


def test_skip_incomplete_cells(tmp_path: Path) -> None:
    path = _write(tmp_path / "m.csv", "loss,note,step\n1.0,x,0\n,y,1\n2.0,,2\n3.")
    curves = read_metrics(path)
    assert list(curves) == ["loss"]
    assert curves["loss"].steps.tolist() == [0, 2]


def test_nan_loss_is_a_gap(tmp_path: Path) -> None:
    curve = read_metrics(_write(tmp_path / "m.csv", "loss,step\n1.0,0\nnan,1\n2.0,2\n"))["loss"]
    assert np.isnan(curve.values).tolist() == [False, True, False]


@pytest.mark.parametrize("text", ["", "loss,step\n", "loss,epoch\n1.0,1\n", "<html>not a csv</html>\n"])
def test_refuse_file_without_metrics(tmp_path: Path, text: str) -> None:
    with pytest.raises(DatasetNotFoundError, match=r"m\.csv: no metrics in it; expected a column `step`"):
        read_metrics(_write(tmp_path / "m.csv", text))


def test_refuse_missing_file(tmp_path: Path) -> None:
    with pytest.raises(DatasetNotFoundError, match=r"absent\.csv: no such file"):
        read_metrics(tmp_path / "absent.csv")


def test_select_in_pattern_order() -> None:
    curves = dict.fromkeys(("lr", "train/loss", "train/loss_mask", "val/AP50"), _TWO["detector"])
    assert list(select_curves(curves, "val/*", "train/loss*")) == ["val/AP50", "train/loss", "train/loss_mask"]


def test_title_labels_legend() -> None:
    figure = plot_curves(_TWO, title="Training loss", y_label="loss")
    axes = figure.axes[0]
    assert (axes.get_title(loc="left"), axes.get_xlabel(), axes.get_ylabel()) == (
        "Training loss",
        "training step",
        "loss",
    )
    assert [text.get_text() for text in axes.get_legend().get_texts()] == list(_TWO)


@pytest.mark.parametrize("suffix", [".svg", ".png"])
def test_equal_figures_equal_bytes(tmp_path: Path, suffix: str) -> None:
    contents = set()
    for name in ("a", "b"):
        save_figure(tmp_path / f"{name}{suffix}", plot_curves(_TWO, title="t", y_label="y"))
        contents.add((tmp_path / f"{name}{suffix}").read_bytes())
    assert len(contents) == 1
    assert sorted(p.name for p in tmp_path.iterdir()) == [f"a{suffix}", f"b{suffix}"]


def test_png_size_and_transparency(tmp_path: Path) -> None:
    save_figure(tmp_path / "c.png", plot_curves(_TWO, title="t", y_label="y", size_inches=(5.0, 3.0)))
    with Image.open(tmp_path / "c.png") as image:
        assert image.size == (500, 300)
        assert image.getpixel((0, 0))[3] == 0


def test_show_markup_verbatim(tmp_path: Path) -> None:
    curves = {"loss $x_{ <b>": _TWO["detector"]}
    figure = plot_curves(curves, title="$\\broken{", y_label="%$")
    save_figure(tmp_path / "c.svg", figure)
    assert "<svg" in (tmp_path / "c.svg").read_text()
    assert [text.get_text() for text in figure.axes[0].get_legend().get_texts()] == list(curves)


def test_no_curves_empty_axes(tmp_path: Path) -> None:
    figure = plot_curves({}, title="nothing yet", y_label="loss")
    save_figure(tmp_path / "c.svg", figure)
    assert figure.axes[0].get_legend() is None


def test_plotting_leaves_rcparams(tmp_path: Path) -> None:
    before = dict(mpl.rcParams)
    save_figure(tmp_path / "c.svg", plot_curves(_TWO, title="t", y_label="y"))
    assert dict(mpl.rcParams) == before
