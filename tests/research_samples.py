"""Answers that scripted nodes give to the steps of a research."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tests.nodes import Node
from tests.test_ask import COUNTED, JUDGE, RECEDES, TIDES, YES

QUESTION = "How fast does the Moon recede from the tide gauge, and who counted?"
PARTS = (
    "How fast does the Moon recede from the tide gauge?",
    "Who counted growth lines of the Moon and the tide?",
)
GEARS = ["The derailleur moves the chain sideways. The Moon has no chain and no tide gauge."]

# Words of the instructions of each step.
SPLIT = "You split a question"
CRITIC = "you try to refute a finding"
SYNTHESIS = "You write a text from findings"

Script = tuple[str, Any]


def confirmed(reason: str = "It stands there.") -> dict[str, str]:
    return {"reason": reason, "verdict": "confirmed"}


def refuted(reason: str) -> dict[str, str]:
    return {"reason": reason, "verdict": "refuted"}


def text_of(text: str, *findings: int) -> dict[str, Any]:
    return {"text": text, "findings": list(findings)}


def draft_for(question: str, *sentences: dict[str, Any]) -> Script:
    return f'"question":"{question}","passages"', {"sentences": list(sentences)}


def scripts(
    made: Sequence[Node], *first: Script, synthesis: Sequence[dict[str, Any]], thinking: str = ""
) -> None:
    """Let nodes split into `PARTS`, say what `first` says, and judge and confirm all else; each after `thinking`."""
    said: list[Script] = [
        *first,
        (SPLIT, {"questions": [*PARTS, PARTS[0].upper(), " "]}),
        (SYNTHESIS, {"sentences": list(synthesis)}),
        (JUDGE, YES),
        (CRITIC, confirmed()),
        ("numbered passages", {"sentences": []}),
    ]
    for node in made:
        node.control(
            chat_script=[{"match": text, "content": content, "thinking": thinking} for text, content in said]
        )


__all__ = ["COUNTED", "GEARS", "JUDGE", "RECEDES", "TIDES", "YES"]
