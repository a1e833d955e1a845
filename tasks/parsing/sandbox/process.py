"""The child process as its parent sees it: two pipes, a clock, and what its end means."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import weakref
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO, Final

import orjson

from prefect_ollama.blocks.child_processes import start_tied
from prefect_ollama.tasks.parsing.sandbox import protocol

# To import what reads a format takes half a second; this is for a machine under heavy load.
_START_SECONDS: Final = 60.0


try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]


# How often the clock is looked at while a file is read.
_LOOK_SECONDS: Final = 0.2

# All that a child sees of the environment, beside what its format asks for: what finds Python, its modules and
# libraries. Keys and tokens of other programs are none of its business.
_ENVIRONMENT: Final = (
    *("PATH", "LANG", "LC_ALL", "LC_CTYPE", "PYTHONPATH", "PYTHONHOME"),
    *("LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "SYSTEMROOT"),
)


class CannotStart(Exception):
    """The process ended, or said nothing, before it was ready."""


class ChildProcess:
    """A child that is ready for requests, and killed when its time is up.

    Args:
        module: The module that reads the files of a format in the child (`file_reader`).
        ceiling: Limits that the child sets on itself for good; what `child.Ceiling` holds. Without it the child takes
            the defaults of that.
        environment: Variables that the child sees beside those that every one needs.

    Attributes:
        unconfined: What of its confinement the kernel does not offer, each with the reason.
    """

    def __init__(
        self,
        module: str,
        ceiling: Mapping[str, Any] | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        """Start a child and wait until it is ready.

        Raises:
            CannotStart: It never was.
        """
        # Descriptors travel over a socket of their own: a pipe carries bytes alone. Windows has no such sockets.
        self._descriptors: socket.socket | None = None
        theirs: socket.socket | None = None
        if hasattr(socket, "send_fds"):
            self._descriptors, theirs = socket.socketpair()
        given = orjson.dumps({**(ceiling or {}), "descriptors": theirs.fileno() if theirs else None})
        # A subprocess and not multiprocessing: Dask's workers are daemonic and may have no such children.
        # -P: the folder the worker runs in must not lend the child its modules.
        # A session of its own: Ctrl-C is for the parent, which closes the pipe.
        self._process = start_tied(
            [
                sys.executable,
                "-P",
                "-m",
                "prefect_ollama.tasks.parsing.sandbox.child",
                module,
                given.decode(),
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
            cwd=Path(sys.executable).anchor,
            env={name: os.environ[name] for name in _ENVIRONMENT if name in os.environ}
            | dict(environment or {}),
            pass_fds=(theirs.fileno(),) if theirs else (),
        )
        if theirs:
            theirs.close()
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._requests: BinaryIO = self._process.stdin  # type: ignore[assignment]
        self._answers: BinaryIO = self._process.stdout  # type: ignore[assignment]
        if hasattr(fcntl, "F_SETPIPE_SZ"):
            with contextlib.suppress(OSError):  # The user has as many large pipes as allowed.
                fcntl.fcntl(self._answers.fileno(), fcntl.F_SETPIPE_SZ, protocol.PIPE_BYTES)
        self._lines = protocol.LineReader(self._answers.fileno())
        self._deadline = float("inf")
        self._busy = threading.Event()
        self.ran_out = False
        self.files = 0
        self.allow(_START_SECONDS)
        threading.Thread(
            target=_watch, args=(weakref.ref(self), self._busy), name="parser-clock", daemon=True
        ).start()
        try:
            line = self._lines.read(protocol.SHORT)
        except protocol.ProtocolError:
            line = None
        self.stop_clock()
        if line is None or line.kind != protocol.READY:
            self.kill()
            raise CannotStart
        self.unconfined: tuple[str, ...] = tuple(line.json()["unconfined"])

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    def send(self, request: dict[str, Any], journal: bytes = b"", descriptor: int | None = None) -> None:
        """Send a request, with the journal or the open file that it is about.

        A child that has ended is noticed by `receive`.
        """
        with contextlib.suppress(OSError):
            if descriptor is not None and self._descriptors is not None:
                socket.send_fds(self._descriptors, [b"f"], [descriptor])
                request = {**request, "descriptor": True}
            self._requests.write(orjson.dumps(request) + b"\n" + journal)
            self._requests.flush()

    def receive(self, limit: int) -> protocol.Line | None:
        """Wait for a line; None when the child has ended.

        Raises:
            protocol.ProtocolError: It sent more than `limit` bytes, or what is no line.
        """
        try:
            return self._lines.read(limit)
        except protocol.ProtocolError:
            if self.ran_out or self._process.poll() is not None:
                return None  # Broken off by its death.
            raise

    def allow(self, seconds: float) -> None:
        """Kill it in so many seconds from now, unless told otherwise."""
        self._deadline = time.monotonic() + seconds
        self._busy.set()

    def stop_clock(self) -> None:
        """Let it live as long as it likes."""
        self._deadline = float("inf")
        self._busy.clear()

    def end(self) -> None:
        """Close its pipe, upon which it ends by itself; kill it if it does not."""
        with contextlib.suppress(OSError):
            self._requests.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(2)
        self.kill()

    def kill(self) -> None:
        """Kill it, if it has not ended yet, and take leave of it."""
        self.stop_clock()
        self._process.kill()
        self._process.wait()
        for stream in (self._requests, self._answers, self._descriptors):
            if stream is None:
                continue
            with contextlib.suppress(OSError):
                stream.close()

    def cause_of_death(self) -> tuple[str, str]:
        """Say why it ended: a kind ("wall-time", "cpu-time", "memory", "crashed"), and in words."""
        try:
            code = self._process.wait(5)
        except subprocess.TimeoutExpired:  # It closed its pipe and lives on.
            self._process.kill()
            code = self._process.wait()
        if self.ran_out or code == -_number("SIGALRM"):
            return "wall-time", "it takes longer than allowed"
        if code == -_number("SIGXCPU"):
            return "cpu-time", "it takes more CPU time than allowed"
        if code == -_number("SIGBUS"):
            return "changed", "the file became shorter while it was read"
        if code == protocol.OUT_OF_MEMORY:
            return "memory", "it takes more memory than allowed"
        if code == -_number("SIGKILL"):
            return "crashed", "the parser process was killed from outside, for want of memory perhaps"
        how = f"by signal {-code}" if code < 0 else f"with exit status {code}"
        return "crashed", f"the parser process ended {how}"

    def look_at_clock(self) -> bool:
        """Kill the child if its time is up; give whether it lives."""
        if time.monotonic() > self._deadline:
            self.ran_out = True
            self._process.kill()
            return False
        return self._process.returncode is None


def _watch(reference: weakref.ref[ChildProcess], busy: threading.Event) -> None:
    """Look at the clock while the child is at work: a thread works where pipes have no time-out, too.

    It knows the child by a weak reference, so that one that is forgotten and not closed ends all the same.
    """
    while True:
        busy.wait(50 * _LOOK_SECONDS)
        child = reference()
        if child is None or not child.look_at_clock():
            return
        del child
        time.sleep(_LOOK_SECONDS)


def _number(name: str) -> int:
    return int(getattr(signal, name, 1000))
