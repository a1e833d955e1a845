"""The content of reports on nodes: the status of a cluster, and the servers that were found."""

from collections.abc import Sequence

from prefect_ollama.blocks.nodes import NodeStatus
from prefect_ollama.tasks.reporting.sections import Item, Section


def status_section(rows: Sequence[NodeStatus]) -> Section:
    """Return the status of the nodes of a cluster."""
    items = []
    for row in rows:
        rate = f", {row.texts_per_second:.1f} texts/s" if row.texts_per_second else ""
        cells = (row.state, row.in_memory, row.kind, row.own_version, row.digest[:12], row.loaded_until)
        # The row has the node's name already.
        below = [row.note.removeprefix(f"Node {row.name!r}: ")] if row.note else []
        chats = []
        for verb, model, error in (
            ("chat", row.chat_model, row.chat_error),
            ("judge", row.judge_model, row.judge_error),
        ):
            chats += [] if not model else ["no" if error else model]
            below += [f"Cannot {verb} with {model}: {error}"] if error else []
        items.append(
            Item(f"{row.state}{rate}", row.name, tuple(below), (*cells, *chats, ", ".join(row.models)))
        )
    # All nodes of a cluster have the same models for chat, so the first one says whether there are any.
    named = {"chats with": rows and rows[0].chat_model, "judges with": rows and rows[0].judge_model}
    roles = [column for column, model in named.items() if model]
    columns = ("node", "state", "in memory", "kind", "version", "digest", "until", *roles, "models")
    drop = ("models", "until", "digest", "version", "kind")
    return Section("", items, len(items), columns=columns, drop=drop, spelled=True)


def found_section(rows: Sequence[NodeStatus]) -> Section:
    """Return the status of servers that were found."""
    items = []
    for row in rows:
        below = [f"{row.kind} {row.own_version}", f"models: {', '.join(row.models) or 'none'}"]
        if row.latency is not None:
            below.append(f"answers in {1000 * row.latency:.0f} ms")
        text = f"block {row.name}" if row.saved else f"({row.name}), not saved yet"
        items.append(Item(text, row.url, tuple(below)))
    return Section("", items, len(items), "" if items else "No Ollama server found.")
