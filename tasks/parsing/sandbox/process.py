"""The child process, seen from its parent: two pipes, a clock, and the cause of its end."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO, Final

import orjson

from prefect_ollama.blocks.child_processes import start_tied
from prefect_ollama.tasks.parsing.errors import Stopped
from prefect_ollama.tasks.parsing.sandbox import protocol

# The module that the child runs.
_CHILD: Final = "prefect_ollama.tasks.parsing.sandbox.child"

# Seconds until the child must be ready. Importing a reader takes half a second; the rest is for a busy machine.
_START_SECONDS: Final = 60.0

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

# The environment variables of a child, in addition to those of its format: those that locate Python, its modules and
# libraries. The child gets no other variables, because they may hold keys and tokens of other programs.
_ENVIRONMENT: Final = (
    *("PATH", "LANG", "LC_ALL", "LC_CTYPE", "PYTHONPATH", "PYTHONHOME"),
    *("LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "SYSTEMROOT"),
)


class ChildProcess:
    """A child that is ready for requests, and is killed when its time is up.

    Args:
        module: The module that reads the files of a format in the child (`file_reader`).
        ceiling: The fields of `child.Ceiling`: hard limits that the child sets on itself. By default there are none.
        environment: Environment variables of the child, in addition to those that every child needs.

    Attributes:
        unconfined: The parts of the confinement that the kernel does not offer, each with the reason.
    """

    def __init__(
        self,
        module: str,
        ceiling: Mapping[str, Any] | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        """Start a child and wait until it is ready.

        Raises:
            Stopped: It did not become ready.
        """
        # Descriptors are sent over a socket, because a pipe carries only bytes. Windows has no such sockets.
        self._descriptors: socket.socket | None = None
        theirs: socket.socket | None = None
        if hasattr(socket, "send_fds"):
            self._descriptors, theirs = socket.socketpair()
        self._progress = _file_in_memory()
        passed = {"descriptors": theirs, "progress": self._progress}
        numbers = {name: each.fileno() for name, each in passed.items() if each is not None}
        given = orjson.dumps({**(ceiling or {}), **numbers})
        # A subprocess and not `multiprocessing`, whose daemonic processes, such as Dask's workers, may have no
        # children. -P: the child must not import modules from the folder in which the worker runs. A session of its
        # own: Ctrl-C goes to the parent, which closes the pipe.
        self._process = start_tied(
            [sys.executable, "-P", "-m", _CHILD, module, given.decode()],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            # Answers are read as many at a time as have arrived.
            bufsize=protocol.PIPE_BYTES,
            start_new_session=True,
            cwd=Path(sys.executable).anchor,
            env={name: os.environ[name] for name in _ENVIRONMENT if name in os.environ}
            | dict(environment or {}),
            pass_fds=tuple(numbers.values()),
        )
        if theirs:
            theirs.close()
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._requests: BinaryIO = self._process.stdin  # type: ignore[assignment]
        self._answers: BinaryIO = self._process.stdout  # type: ignore[assignment]
        if hasattr(fcntl, "F_SETPIPE_SZ"):
            # A large pipe wakes the parent less often. The kernel refuses when the user has too many of them.
            with contextlib.suppress(OSError):
                fcntl.fcntl(self._answers.fileno(), fcntl.F_SETPIPE_SZ, protocol.PIPE_BYTES)
        self._clock: threading.Timer | None = None
        self.ran_out = False
        self.files = 0
        self.allow(_START_SECONDS)
        try:
            line = protocol.read_next(self._answers, protocol.MAX_SHORT_LINE_BYTES)
        except protocol.ProtocolError:
            line = None
        self.stop_clock()
        if line is None or line.kind != protocol.READY:
            self.kill()
            raise Stopped("parser", "the parser process does not start")
        self.unconfined: tuple[str, ...] = tuple(line.json()["unconfined"])

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    def send(self, request: dict[str, Any], journal: bytes = b"", descriptor: int | None = None) -> None:
        """Send a request, with a journal or an open file.

        Errors of the pipe are ignored, because `receive` notices that the child has ended.
        """
        with contextlib.suppress(OSError):
            if self._progress:
                self._progress.truncate(0)
            if descriptor is not None and self._descriptors is not None:
                socket.send_fds(self._descriptors, [b"f"], [descriptor])
            self._requests.write(orjson.dumps(request) + b"\n" + journal)
            self._requests.flush()

    @property
    def progress(self) -> tuple[int, int]:
        """How many pages of the present file were read, and how many it has; 0 if it is not known."""
        noted = os.pread(self._progress.fileno(), protocol.PROGRESS.size, 0) if self._progress else b""
        read, pages = protocol.PROGRESS.unpack(noted.ljust(protocol.PROGRESS.size, b"\0"))
        return read, pages

    def receive(self, limit: int) -> protocol.Line | None:
        """Wait for a line, and return it; None if the child has ended.

        Raises:
            protocol.ProtocolError: It sent more than `limit` bytes, or an invalid line.
        """
        try:
            return protocol.read_next(self._answers, limit)
        except protocol.ProtocolError:
            if self.ran_out or self._process.poll() is not None:
                return None  # the line is incomplete because the child died
            raise

    def allow(self, seconds: float) -> None:
        """Kill it in this many seconds from now, unless this or `stop_clock` is called before."""
        self.stop_clock()
        # A thread, because pipes have no time-out on all systems. It is there only while a file is read, so a child
        # that is not closed is still collected, and ends.
        self._clock = threading.Timer(min(seconds, threading.TIMEOUT_MAX), self._run_out)
        self._clock.daemon = True
        self._clock.start()

    def stop_clock(self) -> None:
        """Set no limit of time."""
        if self._clock is not None:
            self._clock.cancel()

    def end(self) -> None:
        """Close the child's pipe, so that the child ends by itself; kill the child if it does not end."""
        with contextlib.suppress(OSError):
            self._requests.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(2)
        self.kill()

    def kill(self) -> None:
        """Kill it if it has not ended yet, and release its pipes."""
        self.stop_clock()
        self._process.kill()
        self._process.wait()
        for stream in (self._requests, self._answers, self._descriptors, self._progress):
            if stream is None:
                continue
            with contextlib.suppress(OSError):
                stream.close()

    def cause_of_death(self) -> tuple[str, str]:
        """Return why it ended: a kind ("wall-time", "cpu-time", "memory", "changed" or "crashed"), and a sentence."""
        try:
            code = self._process.wait(5)
        except subprocess.TimeoutExpired:  # the child has closed its pipe without ending
            self._process.kill()
            code = self._process.wait()
        if self.ran_out or code == -_number("SIGALRM"):
            return "wall-time", "it takes longer than allowed"
        if code == -_number("SIGXCPU"):
            return "cpu-time", "it takes more CPU time than allowed"
        # A mapped file that is cut off while it is read.
        if code == -_number("SIGBUS"):
            return "changed", "the file became shorter while it was read"
        if code == protocol.OUT_OF_MEMORY:
            return "memory", "it takes more memory than allowed"
        if code == -_number("SIGKILL"):
            return "crashed", "the parser process was killed from outside, perhaps for lack of memory"
        how = f"by signal {-code}" if code < 0 else f"with exit status {code}"
        return "crashed", f"the parser process ended {how}"

    def _run_out(self) -> None:
        self.ran_out = True
        self._process.kill()


def _file_in_memory() -> BinaryIO | None:
    """Return a file that is shared with a child; None on Windows, where descriptors are not passed on."""
    if hasattr(os, "memfd_create"):
        return os.fdopen(os.memfd_create("progress"), "w+b", 0)
    return None if os.name == "nt" else tempfile.TemporaryFile(buffering=0)


def _number(name: str) -> int:
    return int(getattr(signal, name, 1000))
