"""Many requests at once: batches, the limit of the queue, the time limit, clients that go away, a signal to end."""

import os
import signal
import socket
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from cutler_pl.errors import ConfigError
from cutler_pl.runtime import signals
from cutler_pl.web.api import ServerOptions, build_app, listen, serve
from tests.web.api.test_refusals import head, image
from tests.web.serving import FORM, Answer, Client, StubEndpoint, form, served


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def together(client: Client, colors: list[tuple[int, int, int]], **fields: object) -> list[Answer]:
    with ThreadPoolExecutor(len(colors)) as pool:
        return [*pool.map(lambda color: client.post("/predict", image(color), **fields), colors)]


def test_waiting_requests_share_a_batch() -> None:
    endpoint = StubEndpoint()
    endpoint.gate.clear()
    with served(build_app([endpoint], ServerOptions(batch_size=4))) as client, ThreadPoolExecutor(10) as pool:
        first = pool.submit(client.post, "/predict", image())
        until(lambda: endpoint.batches == [1])
        rest = [pool.submit(client.post, "/predict", image()) for _ in range(6)]
        until(lambda: client.request("GET", "/healthz").json["active_requests"] == 7)
        time.sleep(0.1)  # decoded, too
        endpoint.gate.set()
        assert [one.result().status for one in (first, *rest)] == [200] * 7
    assert endpoint.batches == [1, 4, 2]


def test_other_options_are_other_batches() -> None:
    endpoint = StubEndpoint()
    with served(build_app([endpoint], ServerOptions(batch_delay=0.3))) as client, ThreadPoolExecutor(4) as pool:
        answers = [pool.submit(client.post, "/predict", image(), max_detections=n) for n in (1, 2, 1, 2)]
        assert [one.result().status for one in answers] == [200] * 4
    assert sorted(endpoint.batches) == [2, 2]


def test_one_failure_spares_its_batch() -> None:
    endpoint = StubEndpoint()
    with served(build_app([endpoint], ServerOptions(batch_delay=0.3))) as client:
        answers = together(client, [(1, 1, 1), (255, 0, 0), (2, 2, 2)])
    assert sorted(one.status for one in answers) == [200, 200, 500]
    assert endpoint.batches == [3, 1, 1, 1]


def test_full_queue_is_told() -> None:
    endpoint = StubEndpoint()
    endpoint.gate.clear()
    with served(build_app([endpoint], ServerOptions(max_queue=2))) as client, ThreadPoolExecutor(2) as pool:
        waiting = [pool.submit(client.post, "/predict", image()) for _ in range(2)]
        until(lambda: client.request("GET", "/healthz").json["active_requests"] == 2)
        refused = client.request("POST", "/predict", form(bytes(5_000_000)), FORM)
        assert refused.status == 429
        assert "try again later" in refused.error
        assert refused.headers["retry-after"] == "1"
        endpoint.gate.set()
        assert [one.result().status for one in waiting] == [200, 200]
        assert client.post("/predict", image()).status == 200


def test_time_limit_is_told() -> None:
    endpoint = StubEndpoint(seconds=0.5)
    with served(build_app([endpoint], ServerOptions(timeout=0.2, batch_size=1))) as client:
        answers = together(client, [(1, 1, 1)] * 3)
        assert {one.status for one in answers} == {504}
        assert "0.2 s" in answers[0].error
        time.sleep(0.5)
        assert client.request("GET", "/healthz").json["active_requests"] == 0
        endpoint.seconds = 0.0
        assert client.post("/predict", image()).status == 200
    assert len(endpoint.batches) == 2  # the two that still waited when their time was over are not run


def test_slow_body_is_timed_out() -> None:
    with (
        served(build_app([StubEndpoint()], ServerOptions(timeout=0.2))) as client,
        socket.create_connection(("127.0.0.1", client.port), timeout=5) as connection,
    ):
        connection.sendall(head(1000) + form(b"")[:20])
        time.sleep(0.4)
        connection.shutdown(socket.SHUT_WR)
        assert b" 504 " in connection.recv(65_536)


def test_gone_clients_are_not_served() -> None:
    endpoint = StubEndpoint()
    endpoint.gate.clear()
    with served(build_app([endpoint], ServerOptions())) as client, ThreadPoolExecutor(1) as pool:
        first = pool.submit(client.post, "/predict", image())
        until(lambda: endpoint.batches == [1])
        body = form(image())
        with socket.create_connection(("127.0.0.1", client.port), timeout=5) as connection:
            connection.sendall(head(len(body)) + body)
            until(lambda: client.request("GET", "/healthz").json["active_requests"] == 2)
        until(lambda: client.request("GET", "/healthz").json["active_requests"] == 1)
        endpoint.gate.set()
        assert first.result().status == 200
    assert endpoint.batches == [1]


@pytest.mark.parametrize("signum", signals.STOP_SIGNALS)
def test_signal_lets_requests_end(signum: signal.Signals, capsys: pytest.CaptureFixture[str]) -> None:
    endpoint, answers = StubEndpoint(), []
    endpoint.gate.clear()
    bound = listen("127.0.0.1", 0)
    client = Client(bound.getsockname()[1])

    def use() -> None:
        with ThreadPoolExecutor(3) as pool:
            running = [pool.submit(client.post, "/predict", image()) for _ in range(3)]
            until(lambda: endpoint.batches != [])
            os.kill(os.getpid(), signum)
            time.sleep(0.5)
            endpoint.gate.set()
            answers.extend(one.result().status for one in running)

    def command() -> None:
        with signals.handled():
            signals.begin_work()
            serve(build_app([endpoint], ServerOptions()), bound, timeout=20.0)

    def wait_and_use() -> None:
        until(lambda: is_open(client.port))
        use()

    user = threading.Thread(target=wait_and_use)
    user.start()
    before = {one: signal.getsignal(one) for one in signals.STOP_SIGNALS}
    with pytest.raises(SystemExit) as end:
        command()
    signals.release()
    user.join()
    assert end.value.code == 128 + signum
    assert answers == [200, 200, 200]
    said = f"stopped by {signal.Signals(signum).name}; the requests that were running are answered\n"
    assert capsys.readouterr().err == said
    assert {one: signal.getsignal(one) for one in signals.STOP_SIGNALS} == before
    assert not is_open(client.port)


def is_open(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True


@pytest.mark.parametrize(("host", "port"), [("127.0.0.1", None), ("no.such.host.invalid", 0), ("192.0.2.1", 0)])
def test_address_that_cannot_be_taken(host: str, port: int | None) -> None:
    with listen("127.0.0.1", 0) as taken:
        taken.listen()
        with pytest.raises(ConfigError, match="cannot be listened on") as caught:
            listen(host, taken.getsockname()[1] if port is None else port)
    assert f"host={host}" in str(caught.value)
