"""Waits that end on an event. Their bounds only end a wait for what never comes, so a busy machine breaks none."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, TypeVar
from unittest import mock

if TYPE_CHECKING:
    from tests.nodes import Node

R = TypeVar("R")


def until(
    read: Callable[[], R | None], *, seconds: float = 240, every: float = 0.1, why: Callable[[], str] = str
) -> R:
    """Return the first value of `read` that is not empty; `why` explains the failure if there is none.

    For what another process does, which tells nobody: Prefect's server records task runs and events a moment late.
    """
    deadline = time.monotonic() + seconds
    while not (found := read()):
        assert time.monotonic() < deadline, why()
        time.sleep(every)
    return found


@contextlib.contextmanager
def all_nodes_awaited() -> Iterator[None]:
    """Let verification wait for each healthy node, however late this machine gives its process a core.

    Who is late is left out in a real run, and joins when it is ready. A test that says which nodes take part means
    those that would in time.
    """
    from prefect_ollama.blocks.nodes import chat_verification, verification

    with (
        mock.patch.multiple(verification, GRACE_S=60.0, LOAD_GRACE_S=60.0),
        mock.patch.object(chat_verification, "GRACE_S", 60.0),
    ):
        yield


@contextlib.contextmanager
def last_to_answer(node: Node, *, after: Node, calls: int) -> Iterator[None]:
    """Let a node answer nothing before another one has had so many requests."""

    def thaw() -> None:
        try:
            after.wait(calls=calls)
        finally:
            node.thaw()

    node.freeze()
    with ThreadPoolExecutor(1) as pool:
        thawed = pool.submit(thaw)
        yield
        thawed.result()
