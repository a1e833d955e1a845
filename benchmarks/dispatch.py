"""How near the dispatcher comes to the limit: every node busy from the first text to the last.

The limit is `T* = work / sum of the nodes' own saturated rates`; each node is measured alone by the bare load
generator, in the same run, and the efficiency is `T*/T`. Nodes are HTTP servers in processes of their own with a
set service time, FIFO and a set number of slots. Each run takes the nodes in another order, with a new
dispatcher that knows nothing but the nodes' proofs, and every vector is checked. Medians are shown.

    uv run python -m benchmarks.dispatch                     the whole table, five runs a row
    uv run python -m benchmarks.dispatch --only slots        rows whose name holds a word
    uv run python -m benchmarks.dispatch --peers             also SOLLOL, LlamaIndex, LangChain, a plain queue
    uv run python -m benchmarks.dispatch --picture FILE.svg  draws who was busy when
"""

from __future__ import annotations

import argparse
import asyncio
import random
import statistics
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from benchmarks import peers, pull_queue
from benchmarks.load import saturated_rate
from benchmarks.picture import Busy, draw
from prefect_ollama.blocks.nodes.spec import ClusterSpec, ModelSpec, NodeSpec
from prefect_ollama.blocks.nodes.verification import verify_cluster
from prefect_ollama.tasks.dispatch import Dispatcher, Embedded
from tests.nodes import Node, expected_vector, nodes, tokens
from tests.nodes.bursts import ALWAYS, Bursts, least_time

LENGTH = 400
THREE = (200.0, 10.0, 10.0)
EIGHT = (400.0, 200.0, 120.0, 80.0, 40.0, 20.0, 10.0, 5.0)
MEAN_TOKENS = 512
SLOWED = 0.1
POOL = 256
"""Ready-made vectors of a node, so that making them costs its process no time that is not in its settings."""


def texts_of(count: int, seed: int) -> list[str]:
    """Texts of one length."""
    return [f"{seed} {i} ".ljust(LENGTH, "x") for i in range(count)]


def unlike_texts(count: int, seed: int) -> list[str]:
    """Texts of 50 to 2,000 tokens, most of them short."""
    dice = random.Random(seed)
    sizes = [min(2000, max(50, int(dice.lognormvariate(6.0, 0.7)))) for _ in range(count)]
    return [f"{seed} {i} ".ljust(4 * size, "x") for i, size in enumerate(sizes)]


@dataclass(frozen=True)
class Case:
    """One row.

    Attributes:
        name: As the table shows it.
        nodes: Settings of each node.
        count: Texts.
        limit: Least efficiency.
        make: Makes the texts, from their number and a seed.
        unit: What a text counts.
        event: Seconds after the start at which something happens to the first node.
        before: Settings of the first node until then.
        after: Its settings from then on.
        bursts: When the first node works at all.
    """

    name: str
    nodes: Sequence[dict[str, Any]]
    count: int
    limit: float
    make: Callable[[int, int], list[str]] = texts_of
    unit: Callable[[str], float] = lambda text: 1.0
    event: float | None = None
    before: dict[str, Any] = field(default_factory=dict)
    after: dict[str, Any] = field(default_factory=dict)
    bursts: Bursts = ALWAYS


def _rates(rates: Sequence[float], **settings: Any) -> list[dict[str, Any]]:
    return [{"texts_per_second": rate, "pool": POOL, **settings} for rate in rates]


CASES = (
    Case("600 texts, nodes 200/10/10 texts/s, 1 slot", _rates(THREE), 600, 0.95),
    Case("6,000 texts, the same", _rates(THREE), 6000, 0.98),
    Case("600 texts, 20 ms a request on top, 1 slot", _rates(THREE, request_overhead=0.02), 600, 0.93),
    Case(
        "600 texts, 20 ms a request on top, 4 slots", _rates(THREE, request_overhead=0.02, slots=4), 600, 0.93
    ),
    Case("600 texts, nodes 200/100/100 texts/s, 4 slots", _rates((200.0, 100.0, 100.0), slots=4), 600, 0.85),
    Case(
        "10,000 texts of 50 to 2,000 tokens, 8 nodes from 5 to 400 texts/s",
        [{"tokens_per_second": rate * MEAN_TOKENS, "pool": POOL} for rate in EIGHT],
        10_000,
        0.95,
        make=unlike_texts,
        unit=tokens,
    ),
    Case(
        "a node slows to a tenth in mid-run (200/100/100)",
        _rates((200.0, 100.0, 100.0)),
        3000,
        0.93,
        event=2.0,
        after={"speed": SLOWED},
    ),
    Case(
        "a node comes back in mid-run (200/100/100)",
        _rates((200.0, 100.0, 100.0)),
        3000,
        0.93,
        event=3.0,
        before={"faults": ["down"]},
        after={"faults": []},
    ),
    *(
        Case(
            f"a node works a quarter of the time, every {period:g} s (400/100/50)",
            _rates((400.0, 100.0, 50.0)),
            5000,
            0.85,
            bursts=Bursts(0.25, period),
        )
        for period in (1.0, 3.0)
    ),
)


@dataclass(frozen=True)
class Run:
    """One run: seconds, efficiency, and who was busy when."""

    seconds: float
    efficiency: float
    busy: list[Busy]


@dataclass(frozen=True)
class Row:
    """One line of the table."""

    name: str
    limit: str
    best_possible: str
    took: str
    reached: float
    spread: str
    passed: bool


def embed_on(
    made: Sequence[Node], names: Sequence[str], texts: Sequence[str], during: Callable[[], None]
) -> Any:
    """Prove the nodes, embed, and return what came and the seconds; `during` runs when the clock starts."""
    each = tuple(NodeSpec(name, node.url) for name, node in zip(names, made, strict=True))
    cluster = asyncio.run(verify_cluster(ClusterSpec(each, ModelSpec("nomic-embed-text"))))
    with Dispatcher(cluster) as dispatcher:
        for node in made:
            node.reset()
        during()
        cpu, begun = time.process_time(), time.perf_counter()
        embedded = dispatcher.embed(texts)
        return embedded, time.perf_counter() - begun, time.process_time() - cpu


def check(texts: Sequence[str], embedded: Embedded, settings: Any) -> None:
    """Every text must have its vector."""
    assert not embedded.failures
    for text, vector in zip(texts, embedded.vectors, strict=True):
        want = expected_vector(text, settings.dimension, settings.weights, pool=settings.pool)
        assert np.allclose(vector, want, atol=1e-5), f"wrong vector for {text[:20]!r}"


def run_once(case: Case, made: Sequence[Node], rates: Sequence[float], seed: int) -> Run:
    """One run of a row, with the nodes in an order that the seed decides."""
    texts = case.make(case.count, seed)
    order = random.Random(seed).sample(range(len(made)), len(made))
    struck = made[0]
    struck.heal()
    bursts = case.bursts
    struck.control(burst_duty=bursts.duty, burst_period=bursts.period, burst_phase=bursts.phase)
    if case.before:
        struck.control(**case.before)
    timer: threading.Timer | None = None
    event_at = [0.0]

    def strike() -> None:
        struck.control(**case.after)
        event_at[0] = time.monotonic()

    def during() -> None:
        nonlocal timer
        if case.event is not None:
            timer = threading.Timer(case.event, strike)
            timer.start()

    started = time.monotonic()
    embedded, seconds, _ = embed_on(
        [made[i] for i in order],
        [f"node {i}" for i in order],
        texts,
        during,
    )
    ended = time.monotonic()
    started = ended - seconds
    if timer is not None:
        timer.join()
    check(texts, embedded, made[0].settings)
    work = sum(case.unit(text) for text in texts)
    busy = [
        Busy(node, slot, begin - started, end - started, count)
        for node, each in enumerate(made)
        for slot, begin, end, count in each.stats()["busy"]
        if end > started
    ]
    if case.event is None:
        each = [(rates[0], bursts), *((rate, ALWAYS) for rate in rates[1:])]
        return Run(seconds, least_time(work, each, started) / seconds, busy)
    # What the nodes could have done by then at the old sum is done; the rest is held against the new sum.
    first = event_at[0] - started
    old, new = sum(rates[1:]), sum(rates[1:])
    old += 0.0 if case.before else rates[0]
    new += rates[0] * (case.after.get("speed", 1.0))
    return Run(seconds, (work - old * first) / new / (seconds - first), busy)


def measure(case: Case, runs: int, picture: str | None) -> Row:
    """All runs of a row."""
    with nodes(*case.nodes) as made:
        sample = case.make(512, 0)
        rates = [saturated_rate(node.url, sample, unit=case.unit) for node in made]
        done = [run_once(case, made, rates, seed) for seed in range(1, runs + 1)]
    if picture is not None:
        middle = sorted(done, key=lambda run: run.efficiency)[len(done) // 2]
        labels = [
            f"{rate:.0f} texts/s"
            if case.make is texts_of
            else f"{rate / MEAN_TOKENS:.0f} × {MEAN_TOKENS} tokens/s"
            for rate in rates
        ]
        Path(picture).write_text(draw(case.name, labels, middle.busy, middle.seconds, case.event))
    reached = [run.efficiency for run in done]
    median = statistics.median(reached)
    best = statistics.median(run.seconds * run.efficiency for run in done)
    return Row(
        case.name,
        f"≥ {case.limit:.2f}",
        f"{best:.2f} s" if case.event is None else "",
        f"{statistics.median(run.seconds for run in done):.2f} s",
        median,
        f"{min(reached):.3f}-{max(reached):.3f}",
        median >= case.limit,
    )


CLIENT = "client alone: no service time, 768 floats, texts per CPU-second"


def measure_client(runs: int) -> Row:
    """What the client costs: its process's CPU time, on nodes that answer at once."""
    reached, took = [], []
    with nodes({"pool": POOL}, {"pool": POOL}) as made:
        for seed in range(1, runs + 1):
            texts = texts_of(20_000, seed)
            embedded, seconds, cpu = embed_on(made, ["one", "two"], texts, lambda: None)
            check(texts[::50], Embedded(embedded.vectors[::50], {}, (), 0, 0), made[0].settings)
            reached.append(len(texts) / cpu)
            took.append(seconds)
    median = statistics.median(reached)
    spread = f"{min(reached):.0f}-{max(reached):.0f}"
    return Row(CLIENT, "≥ 8000", "", f"{statistics.median(took):.2f} s", median, spread, median >= 8000)


def measure_peers(runs: int) -> list[Row]:
    """Others on the nodes of the first row."""
    case = CASES[0]
    rows: list[Row] = []
    with nodes(*case.nodes) as made:
        rates = [saturated_rate(node.url, case.make(512, 0)) for node in made]
        best = case.count / sum(rates)

        def row(name: str, took: Sequence[float], note: str = "") -> Row:
            reached = [best / seconds for seconds in took]
            spread = f"{min(reached):.3f}-{max(reached):.3f}"
            took_text = f"{statistics.median(took):.2f} s{note}"
            return Row(name, "", f"{best:.2f} s", took_text, statistics.median(reached), spread, True)

        took = []
        for seed in range(runs):
            texts = case.make(case.count, seed)
            seconds, vectors = pull_queue.embed([node.url for node in made], texts)
            check(texts, Embedded(vectors, {}, (), 0, 0), made[0].settings)
            took.append(seconds)
        rows.append(row("peer: a plain pull queue", took))
        missing: dict[str, str | None] = {}
        for way in peers.WAYS:
            if way.library not in missing:
                missing[way.library] = peers.prepare(way.library)
            if (why := missing[way.library]) is not None:
                rows.append(Row(f"peer: {way}", "", "", why[:40], 0.0, "cannot be installed here", True))
                continue
            outcomes = [peers.run(way, made, case.make(case.count, seed)) for seed in range(runs)]
            wrong = sum(outcome.wrong + outcome.missing for outcome in outcomes)
            rows.append(
                row(f"peer: {way}", [o.seconds for o in outcomes], f", {wrong} texts wrong" if wrong else "")
            )
    return rows


def main() -> None:
    """Run the rows and print the table."""
    options = argparse.ArgumentParser(description=(__doc__ or "").partition("\n\n")[0])
    options.add_argument("--runs", type=int, default=5, help="runs of each row; the median is shown")
    options.add_argument("--only", default="", help="rows whose name holds this")
    options.add_argument(
        "--peers", action="store_true", help="other libraries too, on the nodes of the first row"
    )
    options.add_argument("--picture", help="SVG file to draw the first row's run into")
    asked = options.parse_args()
    console = Console(width=150)
    table = Table("case", "limit", "T*", "T", "reached", "spread", "", title="dispatch, T*/T, medians")
    passed = True
    picture = asked.picture

    def add(row: Row) -> None:
        nonlocal passed
        passed &= row.passed
        reached = f"{row.reached:.3f}" if row.reached < 10 else f"{row.reached:.0f}"
        outcome = "" if not row.limit else "pass" if row.passed else "FAIL"
        table.add_row(row.name, row.limit, row.best_possible, row.took, reached, row.spread, outcome)
        console.print(f"{row.name}: {reached} {outcome}", style="dim")

    for case in CASES:
        if asked.only in case.name:
            add(measure(case, asked.runs, picture))
            picture = None
    if asked.only in CLIENT:
        add(measure_client(asked.runs))
    if asked.peers:
        for row in measure_peers(asked.runs):
            add(row)
    console.print(table)
    raise SystemExit(not passed)


if __name__ == "__main__":
    main()
