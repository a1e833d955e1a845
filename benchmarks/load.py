"""A bare load generator: what one node does when it always has work, measured alone.

The sum of these rates is the limit `T* = texts / sum of rates` that dispatch is measured against. Nothing of
the product is in it: requests are encoded beforehand, sent over raw sockets, and answers are counted, not read.

    uv run python -m benchmarks.load          measures simulated nodes of known rates, to prove itself and them
    uv run python -m benchmarks.load URL …    measures yours
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

import orjson

from tests.nodes import nodes

SIZES = (1, 2, 4, 8, 16, 32, 64)
IN_FLIGHT = (1, 2, 4, 8)


@dataclass(frozen=True, slots=True)
class Saturated:
    """A node's saturated rate, in units a second, and the load that reached it."""

    rate: float
    size: int
    in_flight: int


@dataclass(slots=True)
class _Target:
    host: str
    port: int
    path: str
    model: str
    texts: Sequence[str]
    unit: Callable[[str], float]
    place: int = 0

    def request(self, size: int) -> tuple[bytes, float]:
        """The next `size` texts as bytes on the wire, and their units."""
        total = len(self.texts)
        texts = [self.texts[(self.place + i) % total] for i in range(size)]
        self.place += size
        body = orjson.dumps({"model": self.model, "input": texts, "truncate": False, "keep_alive": -1})
        head = (
            f"POST {self.path}/api/embed HTTP/1.1\r\nHost: {self.host}:{self.port}\r\n"
            f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        )
        return head.encode() + body, sum(map(self.unit, texts))


async def _exchange(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, request: bytes) -> None:
    writer.write(request)
    head = await reader.readuntil(b"\r\n\r\n")
    body = await _read_body(reader, head.lower())
    if not head.startswith(b"HTTP/1.1 200"):
        raise RuntimeError(f"the node refused a request of the load generator: {head[:40]!r} {body[:200]!r}")


async def _read_body(reader: asyncio.StreamReader, head: bytes) -> bytes:
    """Read a body of known length, or one in chunks (RFC 9112, 7.1): Ollama sends longer ones so."""
    if b"transfer-encoding: chunked" not in head:
        lines = (line for line in head.split(b"\r\n") if line.startswith(b"content-length:"))
        return await reader.readexactly(int(next(lines, b"content-length:0")[15:]))
    chunks: list[bytes] = []
    while size := int(await reader.readuntil(b"\r\n"), 16):
        chunks.append((await reader.readexactly(size + 2))[:-2])
    await reader.readuntil(b"\r\n")
    return b"".join(chunks)


async def _trial(target: _Target, size: int, in_flight: int, seconds: float) -> float:
    """Units a second under that load, between the ends of the first and of the last whole round of requests.

    So the filling of the node is left out, and what is in flight at the end is cancelled: all that is counted
    ran in a node that had work.
    """
    ends: list[tuple[float, float]] = []
    enough = time.perf_counter() + seconds

    async def keep_one_in_flight() -> None:
        reader, writer = await asyncio.open_connection(target.host, target.port, limit=2**20)
        try:
            while True:
                request, units = target.request(size)
                await _exchange(reader, writer, request)
                ends.append((time.perf_counter(), units))
                if ends[-1][0] >= enough and len(ends) >= 2 * in_flight:
                    return
        finally:
            writer.transport.abort()

    workers = [asyncio.create_task(keep_one_in_flight()) for _ in range(in_flight)]
    done, others = await asyncio.wait(workers, return_when=asyncio.FIRST_COMPLETED)
    for worker in others:
        worker.cancel()
    await asyncio.gather(*others, return_exceptions=True)
    for worker in done:
        worker.result()
    last = len(ends) // in_flight * in_flight
    units = sum(units for _, units in ends[in_flight:last])
    return units / (ends[last - 1][0] - ends[in_flight - 1][0])


async def measure_async(
    url: str,
    texts: Sequence[str],
    *,
    model: str = "nomic-embed-text",
    seconds: float = 2.0,
    unit: Callable[[str], float] = lambda text: 1.0,
) -> Saturated:
    """See `measure`."""
    parts = urlsplit(url)
    target = _Target(parts.hostname or "", parts.port or 80, parts.path.rstrip("/"), model, texts, unit)
    await _trial(target, 1, 1, 0.0)  # loads the model
    begun = time.perf_counter()
    await _trial(target, 1, 1, 0.0)
    a_text = (time.perf_counter() - begun) / 2

    rates: dict[tuple[int, int], float] = {}

    async def rate(size: int, in_flight: int) -> float:
        if (size, in_flight) not in rates:
            rates[size, in_flight] = await _trial(target, size, in_flight, seconds / 8)
        return rates[size, in_flight]

    size = max((s for s in SIZES if s * a_text <= seconds / 8), default=1)
    in_flight = 1
    for more in IN_FLIGHT[1:]:
        if await rate(size, more) < 1.01 * await rate(size, in_flight):
            break
        in_flight = more
    # With a cost a request on top, larger requests do more; unlike texts would only seem to.
    mean = sum(map(unit, texts)) / len(texts)
    while size < SIZES[-1]:
        larger = min(4 * size, SIZES[-1])
        if larger * mean / await rate(size, in_flight) > seconds / 2:
            break
        if await rate(larger, in_flight) < 1.01 * await rate(size, in_flight):
            break
        size = larger
    # One step more in flight costs a saturated node nothing and covers the way there and back. And the best of
    # several noisy figures is too high: measure it again.
    in_flight = min(2 * in_flight, IN_FLIGHT[-1])
    return Saturated(await _trial(target, size, in_flight, seconds), size, in_flight)


def measure(
    url: str,
    texts: Sequence[str],
    *,
    model: str = "nomic-embed-text",
    seconds: float = 2.0,
    unit: Callable[[str], float] = lambda text: 1.0,
) -> Saturated:
    """Find the load under which a node does most, and measure it there.

    Args:
        url: of the node; plain HTTP.
        texts: to embed, over and over.
        model: to ask for.
        seconds: that the last measurement takes; the search before it takes about as long, more with nodes of
            few texts a second.
        unit: what a text counts: 1, or its tokens where cost goes by length.

    Returns:
        The rate in units a second, the request size and the requests in flight that reached it.

    Raises:
        RuntimeError: when the node refuses a request.
        OSError: when it can't be reached.
    """
    return asyncio.run(measure_async(url, texts, model=model, seconds=seconds, unit=unit))


def saturated_rate(
    url: str,
    texts: Sequence[str],
    *,
    model: str = "nomic-embed-text",
    seconds: float = 2.0,
    unit: Callable[[str], float] = lambda text: 1.0,
) -> float:
    """`measure(…).rate`."""
    return measure(url, texts, model=model, seconds=seconds, unit=unit).rate


def main() -> None:
    """Measure nodes and print what was found."""
    texts = [f"text number {i} of a load generator" for i in range(4096)]
    if urls := sys.argv[1:]:
        for url in urls:
            found = measure(url, texts)
            print(f"{url}  {found.rate:10.1f} texts/s  {found.size} texts × {found.in_flight} in flight")
        return
    known: list[dict[str, object]] = [
        {"texts_per_second": 200},
        {"texts_per_second": 10},
        {"texts_per_second": 400, "slots": 4},
        {"texts_per_second": 200, "request_overhead": 0.02},
        {"texts_per_second": 200, "request_overhead": 0.02, "slots": 4},
        {"texts_per_second": 200, "latency": 0.02},
        {"pool": 256},
    ]
    print(f"{'texts/s':>9} {'limit':>9} {'ratio':>6}  {'size':>4} {'in flight':>9}  {'took':>6}  node")
    for settings in known:
        with nodes({"dimension": 768, **settings}) as (node,):
            begun = time.perf_counter()
            found = measure(node.url, texts)
            took = time.perf_counter() - begun
            cost = node.settings.cost(found.size, 0)
            limit = found.size * node.settings.slots / cost if cost else float("nan")
            print(
                f"{found.rate:9.1f} {limit:9.1f} {found.rate / limit:6.3f}  {found.size:4} {found.in_flight:9}"
                f"  {took:5.1f}s  {settings}"
            )


if __name__ == "__main__":
    main()
