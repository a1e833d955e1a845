"""What a breaker remembers of the errors of its node."""

from __future__ import annotations

from prefect_ollama.blocks.errors import NodeAnswerError, NodeFailed, NodeRefused, NodeUnreachable
from prefect_ollama.tasks.dispatch._breaker import Breaker


def test_the_newest_error_is_the_last_one_though_it_counts_once() -> None:
    """A runner that crashes while it loads: probes see the crash, or time out before it."""
    breaker = Breaker()
    crash = NodeFailed("failed (500 'llama-server process has terminated').", node="n0")
    silence = NodeUnreachable("did not send the first token of an answer within 5 s.", node="n0", silent=True)
    for now, error in enumerate((crash, silence, crash, crash)):
        breaker.trip(error, float(now))
    assert breaker.last == crash
    assert dict(breaker.errors) == {crash.cause: 1, silence.cause: 1}


def test_a_late_error_does_not_hide_why_a_node_is_excluded() -> None:
    breaker = Breaker()
    refused = NodeRefused("has another model.", node="n0", model=("digest", "0.33.0"))
    wrong = NodeAnswerError("gave a text another vector.", node="n0")
    breaker.trip(refused, 0.0)
    breaker.note(wrong)
    assert breaker.last == refused
    assert dict(breaker.errors) == {refused.cause: 1, wrong.cause: 1}
    gone = NodeUnreachable("refuses connections.", node="n0")
    breaker.trip(gone, 1.0)  # a probe, and so newer
    assert breaker.last == gone
