"""A run at one moment, in words: the line of a log, and the rows of a table."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from prefect_ollama.tasks.drawing import clock
from prefect_ollama.tasks.watching.live import NodeNow
from prefect_ollama.tasks.watching.memory import InMemory
from prefect_ollama.tasks.watching.snapshot import Snapshot

UNKNOWN = "unknown"

MOST_NAMED = 6
"""Nodes that a line names."""


def how_far(run: Snapshot) -> str:
    """Documents and bytes done, and the time that is left."""
    at = run.standing
    done = f"{at.documents:,} of {at.of_documents:,} documents, {_size(at.size, at.of_size)}"
    if run.ended:
        return f"{done} in {clock(run.seconds)}"
    if at.left is None:
        return f"{done}; time left {UNKNOWN}"
    return f"{done}; about {clock(at.left)} left"


def how_fast(run: Snapshot) -> str:
    """Texts embedded, at what rate, by whom."""
    working = sorted((node for node in run.nodes if node.texts), key=lambda node: -node.texts)
    shares = [f"{node.name} {node.share:.0%}" for node in working[:MOST_NAMED]]
    if len(working) > MOST_NAMED:
        shares.append(f"{len(working) - MOST_NAMED} more")
    rate = run.texts / run.seconds if run.ended and run.seconds else run.now
    when = "on average" if run.ended else "now"
    said = f"{run.texts:,} texts embedded, {rate:,.0f} a second {when}"
    return f"{said} ({', '.join(shares)})" if shares else said


def node_rows(run: Snapshot, memory: Mapping[str, InMemory]) -> list[dict[str, Any]]:
    """A row for each node, in plain values."""
    return [_row(node, run, memory.get(node.name, InMemory())) for node in run.nodes]


def state(node: NodeNow, run: Snapshot) -> str:
    """How a node is, in a word."""
    if node.name in run.down:
        return "down"
    return "rests" if node.state == "fails" else node.state


def _row(node: NodeNow, run: Snapshot, memory: InMemory) -> dict[str, Any]:
    heard = bool(node.breaker)
    return {
        "node": node.name,
        "state": state(node, run),
        "share": f"{node.share:.0%}" if heard else UNKNOWN,
        "texts/s now": round(node.now, 1) if heard else UNKNOWN,
        "texts/s mean": round(node.mean, 1) if heard else UNKNOWN,
        "in flight": node.in_flight if heard else UNKNOWN,
        "p50 s": round(node.p50, 3) if node.p50 else UNKNOWN,
        "p95 s": round(node.p95, 3) if node.p95 else UNKNOWN,
        "errors": node.errors if heard else UNKNOWN,
        "breaker": node.breaker or UNKNOWN,
        "VRAM": UNKNOWN if memory.vram is None else _vram(memory.vram),
        "model": _residency(memory),
        "last error": node.last_error,
    }


def _residency(memory: InMemory) -> str:
    if memory.loaded is None:
        return UNKNOWN
    if not memory.loaded:
        return "not in memory"
    if memory.on_gpu is None:
        return "in memory"
    return "in RAM" if memory.on_gpu == 0 else f"{memory.on_gpu:.0%} on GPU"


def _vram(size: int) -> str:
    return f"{size / 2**30:.1f} GiB" if size >= 2**30 else f"{size / 2**20:.0f} MiB"


def _size(done: int, whole: int) -> str:
    for unit, size in (("GB", 10**9), ("MB", 10**6), ("kB", 10**3)):
        if whole >= size:
            return f"{done / size:.1f} of {whole / size:.1f} {unit}"
    return f"{done} of {whole} bytes"
