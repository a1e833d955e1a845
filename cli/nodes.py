"""`prefect-ollama nodes`, `tune` and `discover`: check, tune and find nodes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from prefect_ollama.console import INCOMPLETE, OK, guarded, show
from prefect_ollama.node_options import NODES, SEVERAL_CHAT, NodeOptions, SeveralChatOptions
from prefect_ollama.options import PRINT, PrintOptions, bounded, flag

if TYPE_CHECKING:
    from prefect_ollama.blocks.nodes import NodeStatus


@guarded()
def nodes(*, nodes: SeveralChatOptions = SEVERAL_CHAT, out: PrintOptions = PRINT) -> int:
    """Check the nodes: reachable, model there and loaded, vectors equal, and which of them chat and judge."""
    from prefect_ollama import render
    from prefect_ollama.flows import check_nodes

    rows = check_nodes(nodes.named(), **nodes.models())
    show(rows, render.nodes(rows), out)
    # Without a row no node was checked, which is a failure.
    return OK if rows and all(row.ok for row in rows) and _can_answer(rows) else INCOMPLETE


def _can_answer(rows: Sequence[NodeStatus]) -> bool:
    """Return whether at least one node can chat with each chat model that the cluster names."""
    return not (all(row.chat_error for row in rows) or all(row.judge_error for row in rows))


@guarded()
def tune(
    *,
    nodes: NodeOptions = NODES,
    seconds: Annotated[float, bounded("Seconds to measure each node.", gte=1, lte=3600)] = 45.0,
    # By default the mean size of chunks that `ChunkOptions` has.
    tokens: Annotated[int, bounded("Tokens of a text: as many as your chunks have.", gte=4, lte=8192)] = 200,
    longest: Annotated[
        float, bounded("Seconds that 95 of 100 requests may take at most.", gt=0, lte=600)
    ] = 5.0,
    save: Annotated[bool, Parameter(help="Save the results in the blocks of saved nodes.")] = True,
    out: PrintOptions = PRINT,
) -> int:
    """Measure how many requests of what size each node needs, and save it in its block."""
    from prefect_ollama import render
    from prefect_ollama.flows import tune_nodes

    rows = tune_nodes(nodes.named(), nodes.model, seconds=seconds, tokens=tokens, longest=longest, save=save)
    show(rows, render.tuning(rows), out)
    return OK if rows and all(row.ok for row in rows) else INCOMPLETE


@guarded()
def discover(
    networks: Annotated[
        list[str], Parameter(help="Networks that are yours to scan, such as 192.168.1.0/24, or addresses.")
    ],
    *,
    port: Annotated[
        tuple[int, ...], bounded("Port to ask; may be given several times.", gte=1, lte=65535)
    ] = (11434,),
    save: Annotated[bool, flag("Make a block for each server without one; no block is overwritten.")] = False,
    most: Annotated[
        int, bounded("Maximum number of addresses in all networks together.", gte=1, lte=2**20)
    ] = 4096,
    timeout: Annotated[float, bounded("Seconds to wait for a connection to an address.", gt=0, lte=60)] = 1.0,
    out: PrintOptions = PRINT,
) -> int:
    """Look for Ollama servers in networks that you name."""
    from prefect_ollama import render
    from prefect_ollama.flows import discover_nodes

    found = discover_nodes(networks, port, save=save, most=most, timeout=timeout)
    show(found, render.found(found), out)
    return OK if found else INCOMPLETE
