"""Waits that end on an event. Their bounds only end a wait for what never comes, so a busy machine breaks none."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from typing import TypeVar
from unittest import mock

R = TypeVar("R")


def until(read: Callable[[], R | None], *, seconds: float = 240, why: Callable[[], str] = str) -> R:
    """What `read` gives as soon as it gives something; `why` tells what went wrong if it never does.

    For what another process does, which tells nobody: Prefect's server records task runs and events a moment late.
    """
    deadline = time.monotonic() + seconds
    while not (found := read()):
        assert time.monotonic() < deadline, why()
        time.sleep(0.1)
    return found


@contextlib.contextmanager
def all_nodes_awaited() -> Iterator[None]:
    """Let verification wait for each healthy node, however late this machine gives its process a core.

    Who is late is left out in a real run, and joins when it is ready. A test that says which nodes take part means
    those that would in time.
    """
    from prefect_ollama.blocks.nodes import verification

    with mock.patch.multiple(verification, GRACE=60.0, LOAD_GRACE=60.0):
        yield
