"""A handle on one simulated node: its process begins and ends with it."""

from __future__ import annotations

import contextlib
import http.client
import os
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import urlencode

import orjson

from tests.nodes.ports import bound
from tests.nodes.settings import FIXED, Settings

if TYPE_CHECKING:
    from tests.nodes.tls import Certificates

ROOT = Path(__file__).parents[2]
READY_SECONDS = 240.0

# What is awaited happens by an event; these bounds only end a wait for what never comes.
WAIT_SECONDS = 240.0


class Node:
    """One node in a process of its own, which ends with this one.

    Keyword arguments are those of `Settings`; `tls=True` makes a CA and a certificate for the node
    (`ca_file` is then the CA bundle).
    """

    def __init__(self, *, tls: bool = False, **settings: Any) -> None:
        """Not started yet.

        Raises:
            TypeError, ValueError: for settings that no node has.
        """
        self.certificates: Certificates | None = None
        if tls:
            from tests.nodes.tls import Certificates  # a heavy import, which few need

            self.certificates = Certificates()
            settings["certificate"] = str(self.certificates.node_file)
        self.settings = Settings(**settings)
        self.port = 0
        self._control_port = 0
        self._held: socket.socket | None = None
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """Base URL with the path prefix, as a user would configure it. It stays the same over `restart()`."""
        scheme = "http" if self.certificates is None else "https"
        return f"{scheme}://127.0.0.1:{self.port}{self.settings.prefix}"

    @property
    def ca_file(self) -> str:
        """CA bundle that proves a node with `tls=True`."""
        assert self.certificates is not None, "the node was made without tls=True"
        return str(self.certificates.ca_file)

    @property
    def alive(self) -> bool:
        """Whether its process runs."""
        return self._process is not None and self._process.poll() is None

    def start(self) -> Self:
        """Start the process; `ready()` waits for it. A node that was started before gets its port again."""
        assert not self.alive, "the node is running"
        if self._held is None:
            # Its port stays its own between `kill()` and `restart()`.
            self._held = bound(self.port)
            self.port = self._held.getsockname()[1]
        settings = orjson.dumps(self.settings.as_dict())
        self._process = subprocess.Popen(
            (sys.executable, "-m", "tests.nodes.server", "--port", str(self.port), "--settings", settings),
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        return self

    def ready(self, timeout: float = READY_SECONDS) -> Self:
        """Wait until it listens.

        Raises:
            RuntimeError: when it ended instead, or took longer.
        """
        assert self._process is not None
        assert self._process.stdout is not None
        readable, _, _ = select.select([self._process.stdout], [], [], timeout)
        line = self._process.stdout.readline() if readable else b""
        if not line:
            self.kill()
            raise RuntimeError(f"the simulated node did not start within {timeout} s; its stderr says why")
        ports = orjson.loads(line)
        self.port, self._control_port = ports["port"], ports["control"]
        return self

    def control(self, **changes: Any) -> None:
        """Change settings while it runs; `faults=[…]` replaces all faults, `faults=[]` heals it.

        A fault is a name or a dict of `Fault`'s attributes. Works also while the node is down.

        Raises:
            ValueError: for a setting or fault that doesn't exist.
        """
        status, answer = self._call("POST", "/_control", changes)
        if status != 200:
            raise ValueError(answer["error"])

    def heal(self) -> None:
        """Undo all `control()` has changed: the settings it was made with."""
        self.control(**{name: value for name, value in self.settings.as_dict().items() if name not in FIXED})

    def stats(self) -> dict[str, Any]:
        """What it has counted since its start or `reset()`.

        `requests` and `texts` received by /api/embed; `answered` requests; `texts_answered` rightly, with
        `served` {text_hash: times}; `cancelled` (client left); `in_flight`, `in_service`, `queued` now and
        `max_in_flight`, `max_in_service`; `connections` opened, `open_connections`; `loads` of the model;
        `paths` {path: calls}; `faults` {name: hits}; `hits` of all; `calls` of all paths; `listening` 0 or 1; `busy`:
        (slot, begin, end, texts) of each service in seconds of `time.monotonic()`; `now` in the same.
        """
        return self._call("GET", "/_stats")[1]

    def reset(self) -> None:
        """Begin to count from zero."""
        self._call("POST", "/_reset")

    def wait(self, timeout: float = WAIT_SECONDS, **counts: float) -> dict[str, Any]:
        """Wait until each count named, as `requests=5`, is reached, and return the stats.

        Raises:
            TimeoutError: with the stats, when that takes longer.
        """
        query = urlencode({**counts, "timeout": timeout})
        status, answer = self._call("GET", f"/_wait?{query}", timeout=timeout + 10)
        if status == 400:
            raise ValueError(answer["error"])
        if status == 408:
            shown = {name: value for name, value in answer.items() if name not in ("served", "busy")}
            raise TimeoutError(f"{counts} not reached in {timeout} s: {shown}")
        return answer

    def kill(self) -> None:
        """SIGKILL, as if the host had lost its power (though its kernel still ends its connections)."""
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        """End it, if it runs."""
        self._end(signal.SIGKILL)
        if self._held is not None:
            self._held.close()
            self._held = None
        if self.certificates is not None:
            self.certificates.remove()

    def restart(self) -> Self:
        """Start it again on the same port, with the settings it was made with and nothing counted."""
        self.kill()
        return self.start().ready()

    def freeze(self) -> None:
        """SIGSTOP: the kernel still takes connections, nobody answers."""
        assert self._process is not None
        os.kill(self._process.pid, signal.SIGSTOP)

    def thaw(self) -> None:
        """Undo `freeze()`."""
        assert self._process is not None
        os.kill(self._process.pid, signal.SIGCONT)

    def cpu_seconds(self) -> float:
        """CPU time its process has used, user and system."""
        assert self._process is not None
        times = Path(f"/proc/{self._process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(times[11]) + int(times[12])) / os.sysconf("SC_CLK_TCK")

    def _end(self, how: signal.Signals) -> None:
        process, self._process = self._process, None
        if process is not None:
            process.send_signal(how)
            process.wait()
            for pipe in (process.stdin, process.stdout):
                if pipe is not None:
                    pipe.close()

    def _call(
        self, method: str, path: str, body: Mapping[str, Any] | None = None, timeout: float = WAIT_SECONDS
    ) -> tuple[int, dict[str, Any]]:
        connection = http.client.HTTPConnection("127.0.0.1", self._control_port, timeout=timeout)
        with contextlib.closing(connection):
            connection.request(method, path, None if body is None else orjson.dumps(body))
            response = connection.getresponse()
            return response.status, orjson.loads(response.read())

    def __enter__(self) -> Self:
        """Start it and wait until it listens."""
        return self.start().ready()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End it."""
        self.stop()


@contextlib.contextmanager
def nodes(*settings: Mapping[str, Any]) -> Iterator[list[Node]]:
    """Nodes with these settings, started side by side, ended together."""
    made = [Node(**each) for each in settings]
    try:
        for node in made:
            node.start()
        deadline = time.monotonic() + READY_SECONDS
        for node in made:
            node.ready(deadline - time.monotonic())
        yield made
    finally:
        for node in made:
            node.stop()
