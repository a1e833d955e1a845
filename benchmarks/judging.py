"""How near the judging of an answer's sentences comes to the limit: every node busy to the last pair.

`ask` judges all pairs of a sentence and a quote at the same time, as urgent requests over all nodes. The limit is
`T* = 1 / sum(1 / T_i)`, where `T_i` is the time that node i alone would take for all pairs at its own rates; the
efficiency is `T*/T`. `T*` divides pairs without end, which nobody can; so the table also shows what a schedule reaches
that knows all rates and lengths from the start (longest first, each to the slot that finishes it first). The goal holds
for many pairs. Nodes are simulated in virtual time
(`tests/dispatch/virtual_chat.py`): the dispatcher is the real one, it knows nothing of the nodes' rates, and the load
of the machine makes no difference. Medians are shown.

    uv run python -m benchmarks.judging             all rows
    uv run python -m benchmarks.judging --pairs 60  another number of pairs
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Sequence

import pytest
from rich.console import Console
from rich.table import Table

from tests.dispatch.virtual_chat import VirtualChatNode, chat

RATES = (
    (4000.0, 120.0),
    (2000.0, 60.0),
    (900.0, 30.0),
    (400.0, 12.0),
    (3000.0, 90.0),
    (1500.0, 45.0),
    (700.0, 20.0),
    (300.0, 10.0),
)
"""Tokens a second of prompts and of answers, of each node."""

PROMPT = (200, 500)
"""Tokens: the instructions, a sentence, and the sentence of the document in which its quote stands."""

ANSWERS = {"yes or no": (6, 10), "with thinking": (60, 400)}
"""Tokens of an answer."""

LIMIT = 0.90
MANY = 300
"""Pairs from which the goal holds: fewer are done before the nodes' rates are known."""


def with_foresight(lengths: Sequence[tuple[int, int]], nodes: int, slots: int) -> float:
    """Return the seconds of a schedule that knows all rates and lengths: longest first, each where it ends first."""
    free = [[0.0, prompt, answer] for prompt, answer in RATES[:nodes] for _ in range(slots)]
    for prompt, answer in sorted(lengths, key=lambda each: -(each[0] / 30 + each[1])):
        ends = [busy + slots * (prompt / reads + answer / writes) for busy, reads, writes in free]
        best = ends.index(min(ends))
        free[best][0] = ends[best]
    return max(busy for busy, _, _ in free)


def efficiency(pairs: int, nodes: int, slots: int, answer: tuple[int, int], seed: int) -> tuple[float, float]:
    """Return T*/T of judging so many pairs on so many unlike nodes, and the same of a schedule with foresight."""
    made = [VirtualChatNode(prompt, said, slots) for prompt, said in RATES[:nodes]]
    with pytest.MonkeyPatch.context() as patch:
        outcome = chat(patch, made, pairs, prompt=PROMPT, answer=answer, urgent=True, seed=seed)
    assert not outcome.answers.failures
    assert all(each is not None for each in outcome.answers.answers)
    lengths = [
        (each.prompt_tokens, each.answer_tokens) for each in outcome.answers.answers if each is not None
    ]
    foresight = with_foresight(lengths, nodes, slots)
    return outcome.possible / outcome.seconds, outcome.possible / foresight


def main() -> None:
    """Run, and print the table."""
    options = argparse.ArgumentParser(description=(__doc__ or "").partition("\n\n")[0])
    options.add_argument("--pairs", type=int, action="append", help="pairs to judge; default 60 and 300")
    options.add_argument("--runs", type=int, default=5, help="runs of each row; the median is shown")
    asked = options.parse_args()
    columns = ("pairs", "nodes", "slots", "answers", "T*/T", "spread", "with foresight", "")
    table = Table(*columns, title="judging, medians")
    passed = True
    for pairs in asked.pairs or (60, 300):
        for nodes in (2, 4, 8):
            for slots in (1, 4):
                for name, answer in ANSWERS.items():
                    runs = [efficiency(pairs, nodes, slots, answer, seed) for seed in range(asked.runs)]
                    reached = [each for each, _ in runs]
                    median = statistics.median(reached)
                    outcome = ""
                    if pairs >= MANY:
                        passed &= median >= LIMIT
                        outcome = "pass" if median >= LIMIT else "FAIL"
                    table.add_row(
                        str(pairs),
                        str(nodes),
                        str(slots),
                        name,
                        f"{median:.3f}",
                        f"{min(reached):.3f}-{max(reached):.3f}",
                        f"{statistics.median(each for _, each in runs):.3f}",
                        outcome,
                    )
    Console(width=100).print(table)
    raise SystemExit(not passed)


if __name__ == "__main__":
    main()
