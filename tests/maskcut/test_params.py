import dataclasses

import pytest

from cutler_pl.errors import ConfigError
from cutler_pl.maskcut import MaskCutParams


def test_defaults_of_the_paper() -> None:
    params = MaskCutParams()
    assert (params.tau, params.num_masks, params.eps) == (0.15, 3, 1e-5)
    assert (params.corner_rule, params.max_overlap, params.min_area) == ("original", 0.5, 0.01)


def test_parameters_are_frozen() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        MaskCutParams().tau = 0.2  # type: ignore[misc]


@pytest.mark.parametrize(
    ("field", "value"),
    [("tau", -0.1), ("tau", 1.0), ("num_masks", 0), ("eps", 0.0), ("max_overlap", 1.5), ("min_area", 1.0)],
)
def test_refuse_impossible_value(field: str, value: float) -> None:
    with pytest.raises(ConfigError, match=rf"maskcut\.{field}={value:g}.*: expected a"):
        MaskCutParams(**{field: value})


@pytest.mark.parametrize("field", ["corner_rule", "stop"])
def test_refuse_unknown_choice(field: str) -> None:
    params = MaskCutParams()
    object.__setattr__(params, field, "other")  # past the type check of the test run
    with pytest.raises(ConfigError, match=rf"maskcut\.{field}=other: expected "):
        params.__post_init__()
