"""A run at one moment, in words: the line of a log, and the text and the list that Prefect's UI shows."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from prefect_ollama.blocks.nodes import UNKNOWN, NodeStatus
from prefect_ollama.blocks.printable import escape_markdown
from prefect_ollama.tasks.monitoring.node_stats import NodeNow
from prefect_ollama.tasks.monitoring.snapshot import Snapshot
from prefect_ollama.tasks.reporting import clock

# Nodes that a line of the log names.
IN_A_LINE = 6

# Nodes that the text of the progress names.
IN_A_TEXT = 20

# Nodes that the list of nodes holds; Prefect's UI shows a longer text slowly.
IN_A_LIST = 200


def how_far(run: Snapshot) -> str:
    """Return documents and bytes done, and the time that is left."""
    at = run.progress_state
    done = f"{at.documents:,} of {at.of_documents:,} documents, {_size(at.size, at.of_size)}"
    if run.ended:
        return f"{done} in {clock(run.seconds)}"
    if at.left is None:
        return f"{done}; time left {UNKNOWN}"
    return f"{done}; about {clock(at.left)} left"


def how_fast(run: Snapshot) -> str:
    """Return the texts embedded and the rate, as a number; of an ended run the report has the rate."""
    rate = "" if run.ended else f", {run.now:,.0f} texts/s"
    return f"{run.texts:,} texts embedded{rate}"


def log_line(run: Snapshot) -> str:
    """Return how far and how fast a run is, with the state and the rate of each node, or its share at the end."""
    some, more = _first(run, IN_A_LINE)
    named = [f"{node.name} {node.share:.0%}" if run.ended else _briefly(node, run) for node in some]
    told = ", ".join([*named, *([f"{more} more"] if more else [])])
    return f"{how_far(run)}; {how_fast(run)}" + (f" ({told})" if told else "")


def progress_text(run: Snapshot) -> str:
    """Return the same as Markdown: a line with the rate and each node's state, and a list.

    Prefect's first UI shows the first line of it on the run's page, and brings it up to date by itself. The second one
    shows some thirty characters of each line, so what matters stands first in each.
    """
    some, more = _first(run, IN_A_LINE)
    done, _, left = how_far(run).partition("; ")
    embedded, _, rate = how_fast(run).partition(", ")
    briefly = ", ".join([*(_briefly(node, run) for node in some), *([f"{more} more"] if more else [])])
    head = "; ".join(part for part in (rate, briefly, done, left) if part)
    some, more = _first(run, IN_A_TEXT)
    lines = [part for part in (done, left, embedded, rate) if part]
    lines += [_state_first(node, run) for node in some]
    lines += [f"{more} more nodes"] if more else []
    lines.append(f"of {run.source}")
    listed = "\n".join(f"- {escape_markdown(each)}" for each in lines)
    return f"{escape_markdown(head)}\n\n{listed}"


def nodes_list(run: Snapshot, memory: Mapping[str, NodeStatus]) -> str:
    """Return a list of the nodes as Markdown, with all that is known of each.

    Args:
        run: The run.
        memory: What the nodes have in memory, by name.
    """
    rows = node_rows(run, memory)
    parts = [f"{how_fast(run)}."]
    parts += [_listed(row) for row in rows[:IN_A_LIST]]
    if len(rows) > IN_A_LIST:
        parts.append(f"{len(rows) - IN_A_LIST} more")
    return "\n\n".join(parts) + "\n"


def _listed(row: Mapping[str, Any]) -> str:
    shown = {name: escape_markdown(value) for name, value in row.items()}
    return "\n".join(
        [
            f"**{shown['node']}**: {shown['state']}, {shown['texts/s']} texts/s",
            "",
            f"- share {shown['share']}, in flight {shown['in flight']}, breaker {shown['breaker']}",
            f"- seconds of a request: p50 {shown['p50 s']}, p95 {shown['p95 s']}",
            f"- VRAM {shown['VRAM']}, model {shown['model']}",
            f"- errors {shown['errors']}, last error: {shown['last error'] or 'none'}",
        ]
    )


def _first(run: Snapshot, most: int) -> tuple[list[NodeNow], int]:
    """The nodes to name, those in trouble first, then the fastest; and how many more there are."""
    nodes = [node for node in run.nodes if node.texts] if run.ended else list(run.nodes)
    nodes.sort(key=lambda node: (state(node, run) not in _TROUBLE, -node.now, -node.texts))
    return nodes[:most], max(len(nodes) - most, 0)


_TROUBLE = ("down", "rests")


def _briefly(node: NodeNow, run: Snapshot) -> str:
    rate = f" {node.now:,.0f}" if node.now else ""
    return f"{node.name} {state(node, run)}{rate}"


def _state_first(node: NodeNow, run: Snapshot) -> str:
    rate = f", {node.now:,.0f} texts/s" if node.now else ""
    return f"{state(node, run)}{rate}: {node.name}"


def node_rows(run: Snapshot, memory: Mapping[str, NodeStatus]) -> list[dict[str, Any]]:
    """Return a row for each node, in plain values."""
    return [_row(node, run, memory.get(node.name, NodeStatus(node.name))) for node in run.nodes]


def state(node: NodeNow, run: Snapshot) -> str:
    """Return how a node is, in a word."""
    if node.name in run.down:
        return "down"
    return "rests" if node.state == "fails" else node.state


def _row(node: NodeNow, run: Snapshot, memory: NodeStatus) -> dict[str, Any]:
    heard = bool(node.breaker)
    return {
        "node": node.name,
        "state": state(node, run),
        "share": f"{node.share:.0%}" if heard else UNKNOWN,
        "texts/s": round(node.now, 1) if heard else UNKNOWN,
        "in flight": node.in_flight if heard else UNKNOWN,
        "p50 s": round(node.p50, 3) if node.p50 else UNKNOWN,
        "p95 s": round(node.p95, 3) if node.p95 else UNKNOWN,
        "errors": node.errors if heard else UNKNOWN,
        "breaker": node.breaker or UNKNOWN,
        "VRAM": UNKNOWN if memory.gpu_memory is None else _vram(memory.gpu_memory),
        "model": _residency(memory),
        "last error": node.last_error,
    }


def _residency(memory: NodeStatus) -> str:
    if memory.loaded is None:
        return UNKNOWN
    if memory.running is None:
        return "not in memory"
    on_gpu = memory.running.on_gpu
    if on_gpu is None:
        return "in memory"
    return "in RAM" if on_gpu == 0 else f"{on_gpu:.0%} on GPU"


def _vram(size: int) -> str:
    return f"{size / 2**30:.1f} GiB" if size >= 2**30 else f"{size / 2**20:.0f} MiB"


def _size(done: int, whole: int) -> str:
    for unit, size in (("GB", 10**9), ("MB", 10**6), ("kB", 10**3)):
        if whole >= size:
            return f"{done / size:.1f} of {whole / size:.1f} {unit}"
    return f"{done} of {whole} bytes"
