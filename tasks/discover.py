"""Look for nodes in networks, and make blocks of those found, as tasks."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace

from prefect import task
from prefect.utilities.asyncutils import run_coro_as_sync

from prefect_ollama.blocks.nodes import NodeStatus, block_name, discover, free_name, host_name, server_url
from prefect_ollama.blocks.quantity import quantity
from prefect_ollama.blocks.saved_nodes import save_node, saved_nodes
from prefect_ollama.tasks.prefect_state import UNCACHED, Opaque, counted_name, run_logger


@task(
    name="scan networks",
    task_run_name=counted_name("scan", "address", "addresses", of="addresses"),
    **UNCACHED,
)
def scan_networks(
    addresses: Opaque[list[str]], ports: Sequence[int], *, timeout: float
) -> tuple[NodeStatus, ...]:
    """Find the Ollama servers and embedded nodes at these addresses, each with the name of its block or a free name.

    Args:
        ports: Ports to ask at each.
        timeout: Connect timeout in seconds.

    Raises:
        ConfigurationError: The Prefect server cannot list its blocks.
    """

    async def find() -> list[tuple[NodeStatus, str]]:
        found = await discover(addresses.content, ports, timeout=timeout)
        return list(zip(found, await asyncio.gather(*(host_name(each.url) for each in found)), strict=True))

    # Before the scan, which takes seconds or minutes, so that a server that does not answer is known at once.
    names = saved_nodes()
    by_server = {server_url(url): name for name, url in names.items() if url}
    taken = set(names)
    nodes = []
    found: list[tuple[NodeStatus, str]] = run_coro_as_sync(find())
    for check, host in found:
        known = by_server.get(server_url(check.url))
        name = known or block_name(check.url, host, taken)
        taken.add(name)
        nodes.append(replace(check, name=name, block=known or ""))
    # An address may have a server at each of several ports.
    embedded = sum(node.kind == "embedded node" for node in nodes)
    servers = quantity(len(nodes) - embedded, "Ollama server")
    servers += f" and {quantity(embedded, 'embedded node')}" if embedded else ""
    asked = quantity(len(addresses.content), "address", "addresses")
    run_logger().info("Found %s at %s", servers, asked)
    return tuple(nodes)


@task(name="save nodes", task_run_name=counted_name("save", "node", of="nodes"), **UNCACHED)
def save_nodes(nodes: Opaque[Sequence[NodeStatus]]) -> tuple[NodeStatus, ...]:
    """Make a block of each node; none has one yet. A name that was taken meanwhile gets a number.

    Raises:
        ConfigurationError: The Prefect server does not take blocks.
    """
    done = []
    for node in nodes.content:
        name = node.name
        # The server decides who gets a name, because another scan may save nodes at the same time.
        while not save_node(name, node.url):
            name = free_name(node.name, {*saved_nodes(), name})
        run_logger().info("Saved %s as %r", node.url, name)
        done.append(replace(node, name=name, block=name))
    return tuple(done)
