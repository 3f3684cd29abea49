"""How far golden tests stay from what they allow: `pytest tests/models -k golden --deviations` prints the table."""

import os

LARGEST: dict[tuple[str, str], tuple[float, float]] = {}
"""Largest deviation and what is allowed, by test and by what was compared."""


def note(what: str, deviation: float, allowed: float) -> None:
    """Remember a deviation of the test that runs now."""
    test = os.environ.get("PYTEST_CURRENT_TEST", "no test").split("::")[-1].split(" ")[0]
    before, _ = LARGEST.get((test, what), (0.0, allowed))
    LARGEST[test, what] = (max(before, float(deviation)), allowed)


def table() -> list[str]:
    """The lines of the table, in the order in which tests ran."""
    rows = [f"| {t} | {what} | {found:.1e} | {allowed:.0e} |" for (t, what), (found, allowed) in LARGEST.items()]
    return ["| test | what | largest deviation | allowed |", "|---|---|---|---|", *rows]
