"""Figures for the five questions of people who run several Ollama nodes; docs/questions.md answers them.

Nodes are the simulated ones of the tests, which do exactly what their settings say, so a row shows what follows from
them and not how fast this machine is; with `--embedded` the second table is also made of an embedded node, which is
a real model. Seconds are the median of some requests.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from statistics import median
from typing import Any

import httpx
import orjson
from rich.console import Console
from rich.table import Table

from prefect_ollama.blocks.nodes._ollama import OllamaEndpoint
from prefect_ollama.blocks.nodes.embed_response import read_answer
from prefect_ollama.blocks.nodes.spec import ModelSpec, NodeSpec
from prefect_ollama.tasks.tuning import Load, texts_of
from tests.nodes import Node

MODEL = ModelSpec("nomic-embed-text", num_ctx=2048)
RATE = 200.0
"""Texts a second of the simulated nodes."""

OVERHEAD = 0.01
"""Seconds that a request costs them on top."""

LATENCY = 0.005
"""Seconds of the way there."""

REQUESTS = 100
IN_FLIGHT = (1, 2, 4, 8)
SIZES = (1, 8, 32, 128)
TIMEOUT = 60.0


async def connections() -> Table:
    """1. Are connections reused?"""
    table = Table("client", "requests", "connections opened", title="1. Connections")
    texts = texts_of(50, 4)
    body = {"model": MODEL.name, "input": texts}

    async def in_flight(node: Node, many: int) -> None:
        async with client_of(node) as client:
            for _ in range(REQUESTS // many):
                await asyncio.gather(*(client.embed(texts, timeout=TIMEOUT) for _ in range(many)))

    async def new_client(node: Node) -> None:
        for _ in range(REQUESTS):
            async with httpx.AsyncClient() as each:
                await each.post(f"{node.url}/api/embed", json=body)

    ways: dict[str, Callable[[Node], Awaitable[None]]] = {
        "ours, one after the other": lambda node: in_flight(node, 1),
        "ours, four in flight": lambda node: in_flight(node, 4),
        "a new client for each request": new_client,
    }
    with Node(dimension=16, pool=8) as node:
        opened = 0
        for name, way in ways.items():
            await way(node)
            counted = node.stats()
            table.add_row(name, f"{counted['requests']}", f"{counted['connections'] - opened}")
            opened = counted["connections"]
            node.reset()
    return table


async def pool(
    title: str,
    node: NodeSpec,
    model: ModelSpec,
    sizes: Sequence[int] = SIZES,
    in_flight: Sequence[int] = IN_FLIGHT,
) -> Table:
    """2. Pool settings?"""
    table = Table(
        "texts in each", *(f"{many} in flight" for many in in_flight), title=f"2. Texts a second, {title}"
    )
    async with OllamaEndpoint(node, model) as client:
        load = Load(client, texts_of(200, 1024), timeout=TIMEOUT)
        await load(1, max(sizes), seconds=0.0)  # the first time is never like the others
        for size in sizes:
            points = [await load(many, size, seconds=1.0) for many in in_flight]
            table.add_row(str(size), *(f"{point.texts_per_second:.1f}" for point in points))
    return table


async def queue() -> Table:
    """3. Batching limits, queue depth?"""
    table = Table("under way already", "seconds for one text", title="3. What waits at a warm node")
    texts = texts_of(50, 256)
    with Node(dimension=16, pool=8, texts_per_second=RATE) as node:
        for many, size in ((0, 0), (2, 8), (2, 32), (8, 32), (2, 128)):
            took = []
            async with client_of(node) as client:
                for _ in range(3):
                    node.reset()
                    under_way = [
                        asyncio.create_task(client.embed(texts[:size], timeout=TIMEOUT)) for _ in range(many)
                    ]
                    await asyncio.to_thread(node.wait, requests=many)
                    began = time.monotonic()
                    await client.embed(texts[:1], timeout=TIMEOUT)
                    took.append(time.monotonic() - began)
                    await asyncio.gather(*under_way)
            table.add_row(f"{many} requests of {size} texts" if many else "nothing", f"{median(took):.3f}")
    return table


async def sessions() -> Table:
    """4. Persistent sessions?"""
    table = Table("20 requests", "loads of the model", "seconds", title="4. What stays (loading takes 0.2 s)")
    texts = texts_of(50, 4)
    ways: dict[str, Callable[[int], ModelSpec]] = {
        "always the same options, keep_alive 30m": lambda number: MODEL,
        "num_ctx 512 and 2048 by turns": lambda number: replace(MODEL, num_ctx=(512, 2048)[number % 2]),
        "keep_alive 0": lambda number: replace(MODEL, keep_alive=0),  # type: ignore[arg-type]  # Ollama takes it
    }
    with Node(dimension=16, pool=8, load_seconds=0.2) as node:
        for name, model in ways.items():
            node.reset()
            began = time.monotonic()
            async with client_of(node) as client:
                for number in range(20):
                    client.model = model(number)
                    await client.embed(texts, timeout=TIMEOUT)
            table.add_row(name, str(node.stats()["loads"]), f"{time.monotonic() - began:.2f}")
    return table


def decoding() -> Table:
    """5. Streaming or async? What an answer costs on this side."""
    table = Table("read by", "texts a CPU-second", title="5. Answers of 32 vectors of 768 floats")
    with Node(dimension=768) as node:
        texts = texts_of(50, 32)
        body = {"model": MODEL.name, "input": texts}
        answer = httpx.post(f"{node.url}/api/embed", json=body).content
    ways: dict[str, Callable[[], Any]] = {
        "json": lambda: json.loads(answer),
        "orjson": lambda: orjson.loads(answer),
        "ours: decoded, checked, as an array": lambda: read_answer(answer, texts, dimension=768, node="it"),
    }
    for name, way in ways.items():
        way()
        began, times = time.process_time(), 0
        while time.process_time() - began < 1.0:
            way()
            times += 1
        table.add_row(name, f"{32 * times / (time.process_time() - began):,.0f}")
    return table


def client_of(node: Node) -> OllamaEndpoint:
    """A client of a simulated node."""
    return OllamaEndpoint(NodeSpec("it", node.url), MODEL)


def main() -> None:
    """Print the tables."""
    options = argparse.ArgumentParser(description=(__doc__ or "").partition("\n\n")[0])
    options.add_argument("--embedded", action="store_true", help="measure an embedded node as well")
    asked = options.parse_args()
    console = Console(width=110)
    console.print(asyncio.run(connections()))
    setting = f"{RATE:.0f} texts/s, {1000 * OVERHEAD:.0f} ms a request, {1000 * LATENCY:.0f} ms away"
    for slots in (1, 4):
        with Node(
            dimension=768,
            pool=64,
            texts_per_second=RATE,
            request_overhead=OVERHEAD,
            latency=LATENCY,
            slots=slots,
        ) as node:
            title = f"a node that serves {slots} at once ({setting})"
            console.print(asyncio.run(pool(title, NodeSpec("it", node.url), MODEL)))
    if asked.embedded:
        from prefect_ollama.blocks.embedded.nodes import EmbeddedNodes

        with EmbeddedNodes(1) as nodes:
            spec = NodeSpec("embedded", nodes.urls[0])
            model = ModelSpec("all-minilm")
            console.print(
                asyncio.run(pool("an embedded node, texts of 200 tokens", spec, model, (1, 8), (1, 2, 4)))
            )
    console.print(asyncio.run(queue()))
    console.print(asyncio.run(sessions()))
    console.print(decoding())


if __name__ == "__main__":
    main()
