"""Threads that do something again and again until they are told to end."""

from __future__ import annotations

import contextvars
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from prefect_ollama.blocks.periodic import PeriodicThread

WAIT = 240.0
NAME = contextvars.ContextVar("NAME", default="nobody")


def test_it_goes_on_until_the_end_with_the_callers_context() -> None:
    said: list[str] = []
    enough, left = threading.Event(), threading.Event()

    @contextmanager
    def within() -> Iterator[None]:
        said.append("entered")
        yield
        said.append("left")
        left.set()

    def action() -> None:
        said.append(NAME.get())
        if len(said) == 4:
            enough.set()

    NAME.set("me")
    with PeriodicThread(action, 0.001, name="test", within=within):
        assert enough.wait(WAIT)
    assert left.wait(WAIT)
    assert said[0] == "entered"
    assert said[-1] == "left"
    assert set(said[1:-1]) == {"me"}


def test_the_last_call_comes_after_the_end_was_asked_for_and_is_waited_for() -> None:
    seen: list[bool] = []
    thread = PeriodicThread(lambda: seen.append(thread.ending), 3600.0, name="test", last=True)
    thread.start()
    thread.end(WAIT)
    assert seen == [True]


def test_a_call_that_hangs_does_not_hold_up_the_end() -> None:
    begun, go_on = threading.Event(), threading.Event()

    def action() -> None:
        begun.set()
        go_on.wait(WAIT)

    with PeriodicThread(action, 0.0, name="test"):
        assert begun.wait(WAIT)
    go_on.set()
