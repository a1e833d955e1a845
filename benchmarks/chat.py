"""How near short chat requests, as for judging sentences, come to the limit: every node busy to the last one.

The limit is `T* = 1 / sum(1 / T_i)`, where `T_i` is the time that node i alone would take for all requests at its own
rates; the efficiency is `T*/T`. Nodes are HTTP servers in processes of their own, which read prompts and write answers
token by token at set rates. Every answer is checked against its JSON schema. Medians are shown.

    uv run python -m benchmarks.chat                  three runs
    uv run python -m benchmarks.chat --requests 600   other numbers
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import time
from collections.abc import Sequence

from rich.console import Console
from rich.table import Table

from prefect_ollama.blocks.nodes import (
    ChatMessage,
    ChatModelSpec,
    ChatRequest,
    ClusterSpec,
    ModelSpec,
    NodeSpec,
    VerifiedChat,
    verify_chat,
)
from prefect_ollama.tasks.dispatch import ChatDispatcher
from tests.nodes import Node, nodes

MODEL = "judge"
RATES = ((20_000.0, 400.0), (10_000.0, 200.0), (5_000.0, 100.0), (2_000.0, 50.0))
"""Tokens a second of prompts and of answers, of each node."""

PROMPT_CHARACTERS = 1200
LIMIT = 0.90
SCHEMA = {
    "type": "object",
    "properties": {"supported": {"type": "boolean"}, "why": {"type": "string"}},
    "required": ["supported", "why"],
}


def requests_of(count: int, seed: int) -> list[ChatRequest]:
    """Pairs of a sentence and a passage, to be judged."""
    return [
        ChatRequest(
            (ChatMessage("user", f"run{seed} pair{number} ".ljust(PROMPT_CHARACTERS, "x")),),
            format=SCHEMA,
            max_tokens=200,
        )
        for number in range(count)
    ]


def verified(made: Sequence[Node]) -> VerifiedChat:
    """The nodes, each with a number."""
    each = tuple(NodeSpec(f"node {place}", node.url) for place, node in enumerate(made))
    spec = ClusterSpec(each, ModelSpec("nomic-embed-text"), chat=ChatModelSpec(MODEL))
    return asyncio.run(verify_chat(spec))


def run_once(made: Sequence[Node], count: int, seed: int) -> tuple[float, float]:
    """Return seconds and efficiency of one run, by a dispatcher that knows nothing of the nodes' rates."""
    chats = verified(made)
    with ChatDispatcher(chats) as chat:
        asked = requests_of(count, seed)
        begun = time.perf_counter()
        found = chat.ask(asked)
        seconds = time.perf_counter() - begun
    assert not found.failures, found.failures
    answers = [answer for answer in found.answers if answer is not None]
    assert len(answers) == count
    prompts = sum(answer.prompt_tokens for answer in answers)
    said = sum(answer.answer_tokens for answer in answers)
    alone = [prompts / prompt + said / answer for prompt, answer in RATES]
    return seconds, 1 / sum(1 / each for each in alone) / seconds


def main() -> None:
    """Run, and print the table."""
    options = argparse.ArgumentParser(description=(__doc__ or "").partition("\n\n")[0])
    options.add_argument("--runs", type=int, default=3, help="runs of each row; the median is shown")
    options.add_argument("--requests", type=int, default=300, help="chat requests in a run")
    asked = options.parse_args()
    table = Table("case", "limit", "T", "reached", "spread", "", title="chat, T*/T, medians")
    passed = True
    for slots in (1, 4):
        settings = [
            {
                "chat_models": [MODEL],
                "chat_slots": slots,
                "prompt_tokens_per_second": prompt,
                "answer_tokens_per_second": answer,
            }
            for prompt, answer in RATES
        ]
        with nodes(*settings) as made:
            done = [run_once(made, asked.requests, seed) for seed in range(asked.runs)]
        reached = [efficiency for _, efficiency in done]
        median = statistics.median(reached)
        passed &= median >= LIMIT
        table.add_row(
            f"{asked.requests} short requests, 4 nodes from 50 to 400 tokens/s, {slots} slot{'s' * (slots > 1)}",
            f"≥ {LIMIT:.2f}",
            f"{statistics.median(seconds for seconds, _ in done):.2f} s",
            f"{median:.3f}",
            f"{min(reached):.3f}-{max(reached):.3f}",
            "pass" if median >= LIMIT else "FAIL",
        )
    Console(width=130).print(table)
    raise SystemExit(not passed)


if __name__ == "__main__":
    main()
