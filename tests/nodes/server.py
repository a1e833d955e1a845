"""The process of one simulated node: Ollama's API on one port of loopback, its control on another.

Started by `tests.nodes.Node`; by hand::

    python -m tests.nodes.server --settings '{"texts_per_second": 50}'

It prints one line of JSON, `{"port": …, "control": …}`, when it is ready, and exits when its stdin closes, so
that no node outlives its parent. The control port answers also while the node is `down`:

- `POST /_control`: JSON object of settings to change; `faults` replaces all faults.
- `GET /_stats`, and `POST /_reset` to count from zero.
- `GET /_wait?requests=5&timeout=240`: the stats, as soon as each number named is reached; 408 if it isn't.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import gc
import random
import socket
import ssl
import sys
from urllib.parse import parse_qsl

import orjson

from tests.nodes.api import Api
from tests.nodes.faults import STATES, Armed, Fault
from tests.nodes.ports import bound
from tests.nodes.protocol import Exchange, Site
from tests.nodes.settings import Settings


class NodeServer:
    """One node: it goes up and down, and its faults come and go."""

    def __init__(self, settings: Settings) -> None:
        """Not listening yet."""
        self.api = Api(settings, on_request=self._arm_states)
        self.site = Site(self.api.handle)
        self.port = 0
        self._sock: socket.socket | None = None
        self._listening = False
        self._accepting: set[asyncio.Task[object]] = set()
        self._ssl: ssl.SSLContext | None = None
        if settings.certificate:
            self._ssl = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            self._ssl.load_cert_chain(settings.certificate)
        self._dice = random.Random(settings.seed)
        self._states: dict[Armed, list[asyncio.Handle]] = {}
        self._loop = asyncio.get_running_loop()

    def start(self, port: int) -> None:
        """Listen, with the faults of the settings set."""
        self._sock = bound(port)
        self.port = self._sock.getsockname()[1]
        self._up()
        self._set_faults()
        self._apply()

    # Up and down take effect at once: a test that was told that the node is down must not be served any more.
    # `asyncio.Server` starts in a later turn of the loop, and cannot be stopped before. Bound, the port stays ours.

    def _up(self) -> None:
        if not self._listening:
            assert self._sock is not None
            self._listening = True
            self.site.closed = False
            self._sock.listen(512)
            self._loop.add_reader(self._sock, self._accept)

    def _accept(self) -> None:
        assert self._sock is not None
        with contextlib.suppress(BlockingIOError, ConnectionAbortedError):
            while True:
                taken, _ = self._sock.accept()
                taken.setblocking(False)
                task = self._loop.create_task(self._serve(taken))
                self._accepting.add(task)
                task.add_done_callback(self._accepting.discard)

    async def _serve(self, taken: socket.socket) -> None:
        with contextlib.suppress(OSError):  # the client left, or broke off the handshake
            await self._loop.connect_accepted_socket(self.site, taken, ssl=self._ssl)

    def _down(self) -> None:
        if self._listening:
            assert self._sock is not None
            self._listening = False
            self._loop.remove_reader(self._sock)
            self._sock.shutdown(socket.SHUT_RDWR)
        self.site.abort()

    def _apply(self) -> None:
        settings = self.api.settings
        self.site.idle_timeout = settings.idle_timeout
        for service in (self.api.service, self.api.chat.service):
            service.set_speed(settings.speed * self._factor(), settings.bursts)

    def _factor(self) -> float:
        factor = 1.0
        for armed in self._states:
            if armed.fault.name == "slow":
                factor *= armed.fault.factor
        return factor

    def _set_faults(self) -> None:
        faults = [Fault.of(value) for value in self.api.settings.faults]
        for armed in list(self._states):
            self._state_ends(armed)
        now = self._loop.time()
        self.api.faults = [Armed(fault, now, self._dice) for fault in faults]
        for armed in self.api.faults:
            if armed.fault.after_seconds:
                self._loop.call_later(armed.fault.after_seconds, self._arm_states)
        self._arm_states()

    def _arm_states(self) -> None:
        """Begin the faults of the node's state whose time has come."""
        now = self._loop.time()
        for armed in self.api.faults:
            if armed.fault.name in STATES and armed.armed_at is None and armed.arm(now):
                self._state_begins(armed)

    def _state_begins(self, armed: Armed) -> None:
        fault = armed.fault
        armed.hits += 1
        timers = self._states[armed] = []
        if fault.name == "slow":
            self._apply()
        elif fault.name == "down":
            self._down()
        else:
            self._flap(armed, down=True)
        if fault.duration is not None:
            timers.append(self._loop.call_later(fault.duration, self._state_ends, armed))

    def _flap(self, armed: Armed, *, down: bool) -> None:
        if armed in self._states:
            if down:
                self._down()
            else:
                self._up()
            self._loop.call_later(armed.fault.period, lambda: self._flap(armed, down=not down))

    def _state_ends(self, armed: Armed) -> None:
        for timer in self._states.pop(armed, ()):
            timer.cancel()
        if armed.fault.name == "slow":
            self._apply()
        elif not any(other.fault.name in {"down", "flap"} for other in self._states):
            self._up()

    def control(self, exchange: Exchange) -> None:
        """Answer a call of the control port."""
        match exchange.path:
            case "/_control":
                try:
                    changes = orjson.loads(exchange.body)
                    for fault in changes.get("faults", ()):
                        Fault.of(fault)
                    settings = self.api.settings.changed(**changes)
                except (ValueError, TypeError) as error:
                    exchange.error(400, str(error))
                    return
                self.api.change(settings)
                if "faults" in changes:
                    self._set_faults()
                self._apply()
                exchange.reply_json({})
            case "/_stats":
                exchange.reply_json(self.stats())
            case "/_reset":
                self.api.reset()
                exchange.reply_json({})
            case "/_wait":
                wishes = {name: float(value) for name, value in parse_qsl(exchange.query)}
                timeout = wishes.pop("timeout", 240.0)
                task = self._loop.create_task(self._wait(exchange, wishes, timeout))
                exchange.gone = task.cancel  # type: ignore[assignment]
            case _:
                exchange.error(404, "no such control")

    async def _wait(self, exchange: Exchange, wishes: dict[str, float], timeout: float) -> None:
        def reached() -> bool:
            counts = self.api.counts() | {"listening": int(self._listening)}
            return all(counts[name] >= value for name, value in wishes.items())

        try:
            async with asyncio.timeout(timeout):
                # Counts change in many places; only a test that waits pays for this.
                while not reached():  # noqa: ASYNC110
                    await asyncio.sleep(0.005)
        except TimeoutError:
            exchange.reply_json(self.stats(), 408)
        except KeyError as error:
            exchange.error(400, f"no count {error}")
        else:
            exchange.reply_json(self.stats())

    def stats(self) -> dict[str, object]:
        """All that was counted."""
        return {
            **self.api.counts(),
            "connections": self.site.opened,
            "open_connections": len(self.site.connections),
            "listening": int(self._listening),
            "paths": self.api.paths,
            "served": {digest.hex(): count for digest, count in self.api.served.items()},
            "faults": {armed.fault.name: armed.hits for armed in self.api.faults},
            "busy": self.api.service.busy,
            "chat_busy": self.api.chat.service.busy,
            "chat_asked": self.api.chat.asked,
            "chat_options": self.api.chat.options,
            "chat_read": self.api.chat.read,
            "now": self._loop.time(),
        }


async def main() -> None:
    """Serve until stdin closes."""
    parser = argparse.ArgumentParser(description="A simulated Ollama node on loopback.")
    parser.add_argument("--port", type=int, default=0, help="port; 0 is any free one")
    parser.add_argument("--settings", default="{}", help="JSON object, see tests.nodes.settings.Settings")
    arguments = parser.parse_args()
    loop = asyncio.get_running_loop()
    node = NodeServer(Settings(**orjson.loads(arguments.settings)))
    node.start(arguments.port)
    control = await loop.create_server(Site(node.control), sock=bound())
    over = asyncio.Event()
    loop.add_reader(sys.stdin.fileno(), over.set)
    ports = {"port": node.port, "control": control.sockets[0].getsockname()[1]}
    print(orjson.dumps(ports).decode(), flush=True)
    gc.freeze()  # what was imported needs no looking at; keeps collections short
    await over.wait()


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(main())
