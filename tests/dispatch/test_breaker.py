"""What a breaker remembers of the errors of its node."""

from __future__ import annotations

from prefect_ollama.blocks.errors import NodeFailed, NodeUnreachable
from prefect_ollama.tasks.dispatch._breaker import Breaker


def test_the_newest_error_is_the_last_one_though_it_counts_once() -> None:
    """A runner that crashes while it loads: probes see the crash, or lose patience before it."""
    breaker = Breaker()
    crash = NodeFailed("failed (500 'llama-server process has terminated').", node="n0")
    silence = NodeUnreachable("did not send the first token of an answer within 5 s.", node="n0", silent=True)
    for now, error in enumerate((crash, silence, crash, crash)):
        breaker.trip(error, float(now))
    assert breaker.last == crash
    assert dict(breaker.errors) == {crash.cause: 1, silence.cause: 1}
