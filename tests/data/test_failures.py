import logging

import pytest

from cutler_pl.data.failures import Failure, Failures


def test_log_each_failure_once(caplog: pytest.LogCaptureFixture) -> None:
    failures = Failures()
    with caplog.at_level(logging.WARNING):
        failures.add([Failure("a.jpg", "a.jpg: broken"), Failure("b.jpg", "b.jpg: gone")])
        failures.add([Failure("a.jpg", "a.jpg: broken")])
    assert failures == [("a.jpg", "a.jpg: broken"), ("b.jpg", "b.jpg: gone")]
    assert caplog.text.count("a.jpg: broken") == 1
