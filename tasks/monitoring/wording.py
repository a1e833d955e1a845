"""A run at one moment, in words: the line of a log, and the text and the list that Prefect's UI shows."""

from collections.abc import Mapping

from prefect_ollama.blocks.nodes import UNKNOWN, NodeStatus
from prefect_ollama.blocks.printable import escape_markdown
from prefect_ollama.blocks.quantity import quantity
from prefect_ollama.tasks.monitoring.node_stats import NodeNow
from prefect_ollama.tasks.monitoring.snapshot import Snapshot
from prefect_ollama.tasks.reporting import Item, Section, clock

# Nodes that a line of the log names.
LINE_NODES = 6

# Nodes that the text of the progress names.
TEXT_NODES = 20

# Nodes that the list of nodes holds; Prefect's UI shows a longer text slowly.
LIST_NODES = 200


def how_far(run: Snapshot) -> str:
    """Return documents and bytes done, and the time that is left."""
    at = run.progress_state
    done = f"{at.documents:,} of {quantity(at.of_documents, 'document')}, {_size(at.size, at.of_size)}"
    if run.ended:
        return f"{done} in {clock(run.seconds)}"
    if at.left is None:
        return f"{done}; time left {UNKNOWN}"
    return f"{done}; about {clock(at.left)} left"


def how_fast(run: Snapshot) -> str:
    """Return the texts embedded and the rate, as a number; of an ended run the report has the rate."""
    rate = "" if run.ended else f", {rate_number(run.now)} texts/s"
    return f"{quantity(run.texts, 'text')} embedded{rate}"


def rate_number(rate: float) -> str:
    """Return a rate without decimals, or with one below 1: a node that works slowly must not look idle."""
    return f"{rate:.1f}" if 0 < rate < 0.95 else f"{rate:,.0f}"


def log_line(run: Snapshot) -> str:
    """Return how far and how fast a run is, with the state and the rate of each node, or its share at the end."""
    some, more = _nodes_to_name(run, LINE_NODES)
    named = [f"{node.name} {node.share:.0%}" if run.ended else _briefly(node, run) for node in some]
    states = ", ".join([*named, *([f"{more} more"] if more else [])])
    return f"{how_far(run)}; {how_fast(run)}" + (f" ({states})" if states else "")


def progress_text(run: Snapshot) -> str:
    """Return the same as Markdown: a line with the rate and each node's state, and a list.

    Prefect's first UI shows the first line of it on the run's page, and brings it up to date by itself. The second one
    shows some thirty characters of each line, so what matters stands first in each.
    """
    some, more = _nodes_to_name(run, LINE_NODES)
    done, _, left = how_far(run).partition("; ")
    embedded, _, rate = how_fast(run).partition(", ")
    briefly = ", ".join([*(_briefly(node, run) for node in some), *([f"{more} more"] if more else [])])
    head = "; ".join(part for part in (rate, briefly, done, left) if part)
    some, more = _nodes_to_name(run, TEXT_NODES)
    lines = [part for part in (done, left, embedded, rate) if part]
    lines += [_state_first(node, run) for node in some]
    lines += [quantity(more, "more node")] if more else []
    lines.append(f"of {run.source}")
    listed = "\n".join(f"- {escape_markdown(each)}" for each in lines)
    return f"{escape_markdown(head)}\n\n{listed}"


def nodes_section(run: Snapshot, memory: Mapping[str, NodeStatus]) -> Section:
    """Return all known values of the nodes.

    Args:
        memory: What the nodes have in memory, by name.
    """
    items = [_item(node, run, memory.get(node.name, NodeStatus(node.name))) for node in run.nodes]
    return Section("", items, LIST_NODES, note=f"{how_fast(run)}.")


def _item(node: NodeNow, run: Snapshot, status: NodeStatus) -> Item:
    rate, share, in_flight, errors = UNKNOWN, UNKNOWN, UNKNOWN, UNKNOWN
    if node.state:  # if it is empty, no process has sent statistics yet
        rate, share = f"{node.now:.1f}", f"{node.share:.0%}"
        in_flight, errors = f"{node.in_flight}", f"{sum(node.errors.values())}"
    p50, p95 = (f"{seconds:.3f}" if seconds else UNKNOWN for seconds in (node.p50, node.p95))
    vram = UNKNOWN if status.gpu_memory is None else f"{status.gpu_memory / 2**20:,.0f} MiB"
    below = (
        f"share {share}, in flight {in_flight}, breaker {node.state or UNKNOWN}",
        f"seconds of a request: p50 {p50}, p95 {p95}",
        f"VRAM {vram}, model {status.in_memory}",
        f"errors {errors}, last error: {node.last_error or 'none'}",
    )
    return Item(f"{state(node, run)}, {rate} texts/s", node.name, below)


def _nodes_to_name(run: Snapshot, most: int) -> tuple[list[NodeNow], int]:
    """Return the nodes to name, first the ones with problems, then the fastest, and the number of all other nodes."""
    nodes = [node for node in run.nodes if node.texts] if run.ended else list(run.nodes)
    nodes.sort(key=lambda node: (state(node, run) not in _TROUBLE, -node.now, -node.texts))
    return nodes[:most], max(len(nodes) - most, 0)


# States that come first in a line, because the line has room for a few nodes only.
_TROUBLE = ("down", "left out", "rests")


def _briefly(node: NodeNow, run: Snapshot) -> str:
    rate = f" {rate_number(node.now)}" if node.now else ""
    return f"{node.name} {state(node, run)}{rate}"


def _state_first(node: NodeNow, run: Snapshot) -> str:
    rate = f", {rate_number(node.now)} texts/s" if node.now else ""
    return f"{state(node, run)}{rate}: {node.name}"


def state(node: NodeNow, run: Snapshot) -> str:
    """Return the state of a node, for people."""
    if node.refused:
        return "left out"
    if node.name in run.down:
        return "down"
    return "rests" if node.activity == "fails" else node.activity


def _size(done: int, whole: int) -> str:
    for unit, size in (("GB", 10**9), ("MB", 10**6), ("kB", 10**3)):
        if whole >= size:
            return f"{done / size:.1f} of {whole / size:.1f} {unit}"
    return f"{done} of {whole} bytes"
