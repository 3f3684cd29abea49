"""A lost process of a run ends the others within seconds, by one sentence: they would wait for it in a collective.

Each rank holds a connection to rank 0. The system closes it when a process dies, in whatever way and under whatever
launcher, and however busy the others are. A process that leaves by an error says so first, since it writes a sentence
of its own; one that leaves by a signal passes the signal on, as it may have been the only one to get it.
"""

import hmac
import multiprocessing
import os
import secrets
import selectors
import socket
import sys
import threading
import time
from contextlib import ExitStack
from typing import NoReturn

from cutler_pl.errors import CutlerError
from cutler_pl.runtime import signals
from cutler_pl.runtime.distributed import gather, global_rank, world_size
from cutler_pl.runtime.logging import get_logger

LOST = "was lost (killed, out of memory or crashed)"
FAILED = "ended with an error of its own"
GOES_ON = "so the others end, too; run the same command again, a training with resume=auto"
PATIENCE = 2.0
"""Seconds in which a process may write its own sentence, after another one has failed."""

_FINISHED_WORD, _FAILED_WORD, _SAID_WORD = b"f", b"e", b"s"
_SIGNALLED = 128  # and more: the word is the exit status of a process that a signal has ended
_CONNECT_SECONDS = 30.0
_INTERVAL = 0.2
_TOKEN_SIZE, _RANK_SIZE = 16, 4
_KEEPALIVE = {"TCP_KEEPIDLE": 3, "TCP_KEEPINTVL": 1, "TCP_KEEPCNT": 4}  # a machine without power is lost in 7 s

_log = get_logger(__name__)
_connections: set[socket.socket] = set()
"""Of this process: a loader process would keep them open beyond its end."""


class RankMonitor:
    """The connections of this process to the others, and the thread that listens to them; needs a process group.

    Every rank makes one at the same time, and calls `finish` or `leave` at the end.
    """

    def __init__(self) -> None:
        self._is_leaving = False
        self._over = threading.Event()
        self._peers: dict[socket.socket, int] = {}
        if global_rank() == 0:
            with _listen() as server:
                token = secrets.token_bytes(_TOKEN_SIZE)
                gather([(server.getsockname()[1], token)])
                self._accept_all(server, token)
        else:
            told: list[tuple[int, bytes]] = gather([])
            self._connect(*told[0])
        target = self._watch_ranks if global_rank() == 0 else self._watch_rank_zero
        self._thread = threading.Thread(target=target, name="rank monitor", daemon=True)
        self._thread.start()

    def finish(self) -> None:
        """End the watch over a run that is through."""
        self._end(_FINISHED_WORD)

    def leave(self, error: BaseException) -> None:
        """End the watch because of an error.

        The error of a collective comes from the loss of another rank, as a rule: then the thread ends the process.
        """
        if isinstance(error, RuntimeError) and not isinstance(error, CutlerError) and self._peers:
            self._thread.join(PATIENCE + 1)
        signum = error.signum if isinstance(error, signals.StoppedBySignal) else signals.requested()
        self._end(_FAILED_WORD if signum is None else bytes([_SIGNALLED + signum]))

    def _end(self, word: bytes) -> None:
        self._is_leaving = True  # the others close their connections as soon as they are told
        self._tell(word)
        self._over.set()

    def _tell(self, word: bytes) -> None:
        for peer in list(self._peers):
            try:
                peer.sendall(word)
            except OSError:
                continue  # it has ended

    def _connect(self, port: int, token: bytes) -> None:
        host = os.environ.get("MASTER_ADDR", "127.0.0.1")
        try:
            peer = socket.create_connection((host, port), timeout=_CONNECT_SECONDS)
            peer.sendall(token + global_rank().to_bytes(_RANK_SIZE, "big"))
        except OSError as error:
            message = "rank %d cannot reach rank 0 at %s:%d (%s): should a process die, the others wait for its timeout"
            _log.warning(message, global_rank(), host, port, error)
            return
        _keep_alive(peer)
        self._add(peer, 0)

    def _accept_all(self, server: socket.socket, token: bytes) -> None:
        """Wait for the connections of the other ranks; strangers are turned away."""
        deadline = time.monotonic() + _CONNECT_SECONDS
        while len(self._peers) < world_size() - 1 and (left := deadline - time.monotonic()) > 0:
            server.settimeout(left)
            try:
                peer, _ = server.accept()
            except TimeoutError:
                break
            peer.settimeout(left)
            try:
                words = peer.recv(_TOKEN_SIZE + _RANK_SIZE, socket.MSG_WAITALL)
            except OSError:
                words = b""
            if hmac.compare_digest(words[:_TOKEN_SIZE], token) and len(words) == _TOKEN_SIZE + _RANK_SIZE:
                _keep_alive(peer)
                self._add(peer, int.from_bytes(words[_TOKEN_SIZE:], "big"))
            else:
                peer.close()

    def _add(self, peer: socket.socket, rank: int) -> None:
        self._peers[peer] = rank
        _connections.add(peer)

    def _watch_rank_zero(self) -> None:
        for peer in self._peers:
            with peer:
                word = _receive(peer)
            if word == _SAID_WORD:
                end_process(None)
            if word == _FINISHED_WORD or self._stands_down(PATIENCE if word else 0):
                return
            if word and word[0] >= _SIGNALLED:
                follow(word[0])
                return
            speaks = global_rank() == 1 or os.environ.get("LOCAL_RANK") == "0"
            end_process(f"rank 0 {LOST}, {GOES_ON}" if speaks and not word else None)

    def _watch_ranks(self) -> None:
        with ExitStack() as peers, selectors.DefaultSelector() as selector:
            for peer in self._peers:
                selector.register(peers.enter_context(peer), selectors.EVENT_READ)
            while selector.get_map() and not self._over.is_set():
                for key, _ in selector.select(_INTERVAL):
                    peer = key.fileobj  # type: ignore[assignment]  # what was registered
                    selector.unregister(peer)
                    word = _receive(peer)
                    if word == _FINISHED_WORD:
                        continue
                    if self._stands_down(PATIENCE if word else 0):
                        return
                    if word and word[0] >= _SIGNALLED:
                        follow(word[0])
                        return
                    say(f"rank {self._peers[peer]} {FAILED if word else LOST}, {GOES_ON}")
                    self._tell(_SAID_WORD)
                    end_process(None)

    def _stands_down(self, seconds: float) -> bool:
        """Whether this process ends by itself within some seconds, or has been told to by a signal."""
        self._over.wait(seconds)
        if self._is_leaving:
            self._over.wait()  # until all are told: this thread closes the connections
        return self._over.is_set() or signals.requested() is not None


def say(sentence: str) -> None:
    """Write a sentence to standard error, also while the main thread is stuck in writing to it."""
    os.write(2, f"error: {sentence}\n".encode())


def end_process(sentence: str | None) -> NoReturn:
    """End this process with status 1 from a thread, whatever the main thread waits for; its loader processes, too."""
    if sentence is not None:
        say(sentence)
    for child in multiprocessing.active_children():
        child.kill()
    sys.stdout.flush()
    os._exit(1)


def follow(status: int) -> None:
    """End this process by the signal that has ended another one, as if it had got the signal as well.

    Args:
        status: Exit status of the other process, above 128.
    """
    signals.receive(status - _SIGNALLED, within=3 * PATIENCE)


def _listen() -> socket.socket:
    backlog = max(world_size(), 1)
    if socket.has_dualstack_ipv6():
        return socket.create_server(("", 0), family=socket.AF_INET6, dualstack_ipv6=True, backlog=backlog)
    return socket.create_server(("", 0), backlog=backlog)


def _keep_alive(peer: socket.socket) -> None:
    peer.settimeout(None)
    peer.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in _KEEPALIVE.items():
        if hasattr(socket, name):
            peer.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)


def _receive(peer: socket.socket) -> bytes:
    """The next word; nothing from a process that is gone."""
    try:
        return peer.recv(1)
    except OSError:
        return b""


def _close_in_child() -> None:
    for peer in _connections:
        peer.close()
    _connections.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_close_in_child)
