"""Wrong answers of `/api/embed`: wrong vectors (`SPOIL`), and right ones badly delivered (`DELIVER`)."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import orjson

from tests.nodes.faults import Fault
from tests.nodes.protocol import JSON, Exchange, head_of

Spoil = Callable[[list[bytes], Fault], list[bytes]]
Deliver = Callable[[Exchange, Fault, bytes], None]
PIECE = 2**16


def _one(change: Callable[[bytes, Fault], bytes]) -> Spoil:
    """Change the middle vector only."""

    def spoil(vectors: list[bytes], fault: Fault) -> list[bytes]:
        middle = len(vectors) // 2
        return [*vectors[:middle], change(vectors[middle], fault), *vectors[middle + 1 :]]

    return spoil


def _all(change: Callable[[bytes, Fault], bytes]) -> Spoil:
    return lambda vectors, fault: [change(vector, fault) for vector in vectors]


def _first_float(word: bytes) -> Callable[[bytes, Fault], bytes]:
    """Put a word in the place of the first float."""
    return lambda vector, fault: b"[" + word + vector[vector.find(b",") :]


def _resize(vector: bytes, fault: Fault) -> bytes:
    floats = orjson.loads(vector)
    return orjson.dumps(floats[: fault.by] if fault.by < 0 else floats + [0.0] * fault.by)


def _count(vectors: list[bytes], fault: Fault) -> list[bytes]:
    return vectors[: fault.by] if fault.by < 0 else vectors + vectors[-1:] * fault.by


SPOIL: dict[str, Spoil] = {
    "wrong_count": _count,
    "wrong_dimension": _all(_resize),
    "ragged": _one(_resize),
    "nan": _one(_first_float(b"NaN")),
    "inf": _one(_first_float(b"1e999")),
    "null": _one(_first_float(b"null")),
    "null_vector": _one(lambda vector, fault: b"null"),
    "zero": _one(lambda vector, fault: orjson.dumps([0.0] * len(orjson.loads(vector)))),
    "unnormalised": _all(lambda vector, fault: orjson.dumps([2 * x for x in orjson.loads(vector)])),
    "wrong_order": lambda vectors, fault: [*vectors[1:], vectors[0]],
}


def _drip(exchange: Exchange, fault: Fault, body: bytes) -> None:
    exchange.write(head_of(200, len(body), JSON))
    loop = asyncio.get_running_loop()

    def drop(place: int) -> None:
        if exchange.open:
            exchange.write(body[place : place + 1])
            if place + 1 < len(body):
                loop.call_later(fault.period, drop, place + 1)
            else:
                exchange.finish()

    drop(0)


def _reset(exchange: Exchange, fault: Fault, body: bytes) -> None:
    exchange.write(head_of(200, len(body), JSON) + body[: len(body) // 2])

    # A reset overtakes what the client has not read yet: let it read some.
    def strike() -> None:
        if exchange.open:
            exchange.reset()

    asyncio.get_running_loop().call_later(0.02, strike)


def _short_body(exchange: Exchange, fault: Fault, body: bytes) -> None:
    exchange.write(head_of(200, len(body), JSON) + body[: len(body) // 2])
    exchange.close()


def _half_json(exchange: Exchange, fault: Fault, body: bytes) -> None:
    exchange.reply(200, body[: len(body) // 2])


def _huge(exchange: Exchange, fault: Fault, body: bytes) -> None:
    async def pour() -> None:
        exchange.write(head_of(200, fault.size + len(body), JSON))
        for start in range(0, fault.size, PIECE):
            await exchange.connection.drained()
            if not exchange.open:
                return
            exchange.write(b" " * min(PIECE, fault.size - start))
        exchange.write(body)
        exchange.finish()

    task = asyncio.get_running_loop().create_task(pour())

    def left() -> None:
        task.cancel()

    exchange.gone = left


DELIVER: dict[str, Deliver] = {
    "drip": _drip,
    "reset": _reset,
    "short_body": _short_body,
    "half_json": _half_json,
    "huge": _huge,
}
