"""The ladder keeps what is finished, counts what is missing, and says what its differences decide."""

import math
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module", autouse=True)
def _benchmarks() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(ROOT / "benchmarks")
        yield


@pytest.fixture(scope="module")
def cells() -> ModuleType:
    return import_module("ladder_cells")


@pytest.fixture(scope="module")
def report() -> ModuleType:
    return import_module("ladder_report")


def cell_of(cells: ModuleType, measure: Callable[[], dict[str, Any]], *, seed: int = 0, **settings: object) -> Any:
    return cells.Cell("masks", "promerge", "middle", seed, settings, measure)


def measured(
    cells: ModuleType, row: str, values: list[float], *, table: str = "detectors", seconds: float = 1.0
) -> Any:
    return [
        cells.Measured((table, "middle", row, seed), {"bbox": {"AP50": value}}, seconds, {})
        for seed, value in enumerate(values)
    ]


def test_finished_cell_is_kept(cells: ModuleType, tmp_path: Path) -> None:
    cell = cell_of(cells, lambda: {"bbox": {"AP50": 50.0}}, tau=0.8)
    assert not cells.is_done(cell, tmp_path)
    cells.run_cell(cell, tmp_path)
    assert cells.is_done(cell, tmp_path)
    (found,) = cells.read_all(tmp_path)
    assert (found.key, found.result) == (("masks", "middle", "promerge", 0), {"bbox": {"AP50": 50.0}})
    assert {"commit", "machine", "date", "load"} <= found.run.keys()


def test_changed_settings_are_measured_again(cells: ModuleType, tmp_path: Path) -> None:
    cells.run_cell(cell_of(cells, dict, tau=0.8), tmp_path)
    assert not cells.is_done(cell_of(cells, dict, tau=0.9), tmp_path)


def test_killed_cell_leaves_no_file(cells: ModuleType, tmp_path: Path) -> None:
    """The cells before it stay."""

    def killed() -> dict[str, Any]:
        raise KeyboardInterrupt

    cells.run_cell(cell_of(cells, dict), tmp_path)
    with pytest.raises(KeyboardInterrupt):
        cells.run_cell(cell_of(cells, killed, seed=1), tmp_path)
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == ["promerge_0.json"]


def test_only_selects_by_pattern(cells: ModuleType) -> None:
    both = [cell_of(cells, dict, seed=seed) for seed in (0, 1)]
    assert [cell.name for cell in cells.matching(both, ["masks/*_1"])] == ["masks/middle/promerge_1"]
    assert cells.matching(both, []) == both


def test_estimate_takes_nearest_measured(cells: ModuleType) -> None:
    """The row's own time, else the table's, else the guess."""
    known = measured(cells, "promerge", [1.0, 2.0], table="masks", seconds=8.0)
    known += measured(cells, "uniap", [1.0], table="masks", seconds=2.0)
    other = cells.Cell("masks", "hassod", "middle", 0, {}, dict)
    unknown = cells.Cell("speed", "interleaved", "large", 0, {}, dict)
    missing = [cell_of(cells, dict, seed=2), other, unknown]
    assert cells.estimate(missing, known, {"speed": 100.0}) == 8.0 + 6.0 + 100.0


def test_differences_pair_equal_seeds(cells: ModuleType, report: ModuleType) -> None:
    known = measured(cells, "soft", [52.0, 41.0, 63.0, 99.0]) + measured(cells, "plain", [50.0, 40.0, 60.0])
    seeds, difference = report.pair(known, report.Comparison("soft", "plain"))
    assert (seeds, difference.values) == ([0, 1, 2], [2.0, 1.0, 3.0])
    assert difference.mean == 2.0
    assert difference.error == pytest.approx(1 / math.sqrt(3))


@pytest.mark.parametrize(
    ("values", "verdict"),
    [
        ([1.2, 1.4, 1.3], "gains"),
        ([0.2, 0.4, 0.3], "below the claim"),
        ([-1.2, -1.4, -1.3], "loses"),
        ([9.0, 7.9, 8.4], "gains"),  # standard error 0.3
        ([9.0, 3.0, 6.0], "gains"),  # standard error 1.7, below half of 6
        ([-9.0, -3.0, -6.0], "loses"),
        ([5.0, -1.0, 2.0], "not decided"),  # standard error 1.7, above half of 2
        ([9.0, 9.1], "not decided"),
    ],
)
def test_verdict_needs_small_error(report: ModuleType, values: list[float], verdict: str) -> None:
    assert report.Difference(values).verdict(1.0) == verdict


def test_undecided_rows_get_more_seeds(cells: ModuleType, report: ModuleType) -> None:
    """Both rows of a comparison, one seed at a time, at most eight in all."""
    compared = [report.Comparison("soft", "plain"), report.Comparison("round", "plain")]
    known = measured(cells, "plain", [50.0, 40.0, 60.0])
    known += measured(cells, "soft", [59.0, 39.0, 64.0]) + measured(cells, "round", [52.0, 42.1, 62.0])
    assert report.more_seeds(known, compared, "detectors") == {"soft": 3, "plain": 3}
    assert report.more_seeds(known, compared, "masks") == {}
    many = measured(cells, "soft", [0.0, 9.0] * 4) + measured(cells, "plain", [0.0] * 8)
    assert report.more_seeds(many, compared, "detectors") == {}


def test_tables_leave_out_the_unmeasured() -> None:
    page = import_module("ladder_page")
    empty = "".join(f"<!-- table: {name} -->\n<!-- end -->\n" for name in page.tables([]))
    assert page.filled(empty, page.tables([])).count("Not measured yet.") == 5
    assert "promerge" not in page.filled(empty, page.tables([]))


def test_difficulties_share_no_scene() -> None:
    data = import_module("ladder_data")
    seeds = [data.test_seed(name, seed) for name in (*data.SCENES, "large") for seed in range(8)]
    seeds += [data.train_seed(seed) for seed in range(8)]
    assert len(set(seeds)) == len(seeds)
    assert not {1000, 5000} & set(seeds)


def test_page_shows_the_kept_results(cells: ModuleType) -> None:
    """`python benchmarks/ladder.py --page docs/ladder.md` writes them."""
    page = (ROOT / "docs" / "ladder.md").read_text(encoding="utf-8")
    ladder_page = import_module("ladder_page")
    measured = cells.read_all(ROOT / "benchmarks" / "results" / "ladder")
    assert ladder_page.filled(page, ladder_page.tables(measured)) == page
    assert any(found.key[0] == "masks" for found in measured)
