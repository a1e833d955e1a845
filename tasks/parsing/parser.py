"""A parser that no file can stop: the work is done in a child process, which is watched and replaced.

The child is started when the first file comes, reused for the next ones, and replaced when it died, was killed
at a limit, or grew. Pages arrive one by one, so that those read before a kill are kept where the caller wants
partial documents. Nothing is ever waited for longer than the limits of `ParseOptions` allow.
"""

from __future__ import annotations

import contextlib
import os
import signal
import stat
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Final

from prefect_ollama.blocks.errors import DocumentError
from prefect_ollama.tasks.parsing import protocol
from prefect_ollama.tasks.parsing.document import ParsedDocument
from prefect_ollama.tasks.parsing.options import ParseOptions
from prefect_ollama.tasks.parsing.reading import Reading

# The import of PyMuPDF takes half a second; this is for a machine under heavy load.
START_SECONDS: Final = 60.0
# A child whose memory at rest has grown beyond this is replaced before the next file.
RECYCLE_MB: Final = 400.0

# Read at once from the child; the default of 8 KiB is less than a page.
_PIPE_BYTES: Final = 2**18

REMEDIES: Final = {
    "missing": "It is dropped from the table at the next run unless it comes back.",
    "not-a-file": "Only regular files are read; move it out of the folder or exclude its name.",
    "unreadable": "Give the user that runs the flow the right to read it.",
    "empty": "Copy or download the file again.",
    "not-a-pdf": "Convert it to PDF, or exclude its name.",
    "damaged": "Open and save it with a PDF viewer, or get a fresh copy.",
    "no-pages": "The file was probably cut off; get a fresh copy.",
    "encrypted": "Give its password with a pattern that fits its name (`passwords`).",
    "too-large": "Raise `max_pages` or `output_mb` if the file is what it should be.",
    "memory": "Raise `memory_mb` if the file is what it should be, or allow partial documents.",
    "cpu-time": "Raise `cpu_seconds` if the file is what it should be, or allow partial documents.",
    "wall-time": "Raise `wall_seconds` if the file is what it should be, or allow partial documents.",
    "crashed": "The file breaks the parser. Open and save it with a PDF viewer, or leave it out.",
    "parser": "The parser process does not start here; run `python -m prefect_ollama.tasks.parsing.child` to see why.",
}
"""What to do next, for every kind of refusal."""

_LIMITS: Final = frozenset({"memory", "cpu-time", "wall-time", "crashed", "too-large"})


class Parser:
    """Reads PDF files in a child process of its own, one at a time. Not thread-safe; a context manager."""

    def __init__(self) -> None:
        self._child: _Child | None = None

    def __enter__(self) -> Parser:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the child. The parser may be used again; a new child is started then."""
        if self._child is not None:
            self._child.end()
            self._child = None

    def parse(self, path: Path, options: ParseOptions | None = None) -> ParsedDocument:
        """Read one file.

        Args:
            path: The file; symbolic links are followed, and anything but a regular file is refused.
            options: Limits and how to read; the defaults when not given.

        Raises:
            DocumentError: The file cannot be read within the limits; `kind` is a key of `REMEDIES`.
        """
        options = options or ParseOptions()
        _look(path)
        reading = Reading(options)
        started = time.monotonic()
        try:
            self._read(path, options, reading)
        except _Stopped as stop:
            if not (options.allow_partial and stop.kind in _LIMITS and reading.has_pages):
                raise _refused(path, stop.kind, stop.reason) from None
            reading.stopped(stop.kind, stop.reason, REMEDIES[stop.kind])
        return reading.finish(time.monotonic() - started)

    def _read(self, path: Path, options: ParseOptions, reading: Reading) -> None:
        request = {
            # Bytes that are no UTF-8 travel as lone surrogates, which JSON cannot hold.
            "path": os.fsencode(path.absolute()).hex(),
            "passwords": options.passwords_for(path),
            "cpu_seconds": options.cpu_seconds,
            "wall_seconds": options.wall_seconds,
            "memory_mb": options.memory_mb,
            "max_pages": options.max_pages,
        }
        child = self._ready_child(request)
        clock = _Clock(child, options.wall_seconds)
        try:
            while self._take(child, clock, options, reading):
                pass
        except _Stopped as stop:
            # After it refused a file the child is well; otherwise it is in an unknown state.
            if not (stop.final and self._is_done(child)):
                self._discard()
            if clock.ran_out and clock.for_ocr and stop.kind == "wall-time":
                reading.out_of_ocr_time()
                return
            raise
        except BaseException:
            self._discard()
            raise
        finally:
            clock.stop()
        if not reading.has_pages:
            raise _Stopped("damaged", f"none of its pages can be read: {reading.first_failure}")

    def _take(self, child: _Child, clock: _Clock, options: ParseOptions, reading: Reading) -> bool:
        """Take one line from the child; False when the file is done."""
        line = self._line(child, clock, options, reading)
        try:
            return self._use(line, child, clock, options, reading)
        except protocol.ProtocolError as error:
            raise _Stopped("crashed", f"the parser process sends what makes no sense ({error})") from error

    def _use(
        self, line: protocol.Line, child: _Child, clock: _Clock, options: ParseOptions, reading: Reading
    ) -> bool:
        kind = line.kind
        if kind == protocol.PAGE:
            reading.page(line)
        elif kind == protocol.PAGE_FAILED:
            failure = line.json()
            if failure["kind"] == "memory" and not options.allow_partial:
                raise _Stopped("memory", f"page {line.page + 1} takes more memory than allowed")
            reading.page_failed(line.page, failure["kind"], failure["message"])
        elif kind == protocol.OPENED:
            reading.opened(line.json())
        elif kind == protocol.LOOKED:
            more = reading.wants_more()
            if more is not None and more["ocr"]:
                clock.restart(more["seconds"])
            child.send(more or {})
        elif kind == protocol.PICTURES:
            reading.pictures(line)
        elif kind == protocol.TABLES:
            reading.tables(line)
        elif kind == protocol.OCR:
            reading.ocr(line)
        elif kind == protocol.FAILED:
            failure = line.json()
            raise _Stopped(failure["kind"], failure["message"], final=True)
        elif kind == protocol.DONE:
            done = line.json()
            reading.done(done["cpu_seconds"])
            if done["grown_mb"] > RECYCLE_MB:
                self.close()
            return False
        return True

    def _ready_child(self, request: dict[str, Any]) -> _Child:
        """Start a child, or take the one there is, and hand it the request."""
        for _ in range(2):
            if self._child is None:
                self._child = _Child()
            try:
                self._child.send(request)
                return self._child
            except OSError:  # It died while it had nothing to do.
                self._discard()
        raise _Stopped("parser", "the parser process ends as soon as it is started")

    def _line(self, child: _Child, clock: _Clock, options: ParseOptions, reading: Reading) -> protocol.Line:
        try:
            line = child.receive(max(0, options.output_mb * 2**20 - reading.received) + protocol.SHORT)
        except protocol.ProtocolError as error:
            if not (clock.ran_out or child.has_ended()):
                raise _Stopped("too-large", f"it yields more than {options.output_mb} MiB of text") from error
            line = None
        if line is None:
            raise self._death(child, clock, options, reading)
        return line

    def _death(self, child: _Child, clock: _Clock, options: ParseOptions, reading: Reading) -> _Stopped:
        code = child.wait()
        if clock.ran_out or code == -_signal("SIGALRM"):
            return _Stopped(
                "wall-time", f"it takes longer than {options.wall_seconds:g} s, {reading.progress}"
            )
        if code == -_signal("SIGXCPU"):
            return _Stopped(
                "cpu-time", f"it takes more than {options.cpu_seconds:g} s of CPU time, {reading.progress}"
            )
        if code == -_signal("SIGKILL"):
            return _Stopped("crashed", f"the parser was killed from outside, {reading.progress}")
        how = f"by signal {-code}" if code < 0 else f"with exit status {code}"
        return _Stopped("crashed", f"the parser process ended {how}, {reading.progress}")

    def _is_done(self, child: _Child) -> bool:
        with contextlib.suppress(protocol.ProtocolError, OSError):
            line = child.receive(protocol.SHORT)
            return line is not None and line.kind == protocol.DONE
        return False

    def _discard(self) -> None:
        if self._child is not None:
            self._child.kill()
            self._child = None


class _Stopped(Exception):
    """Reading came to an end before the last page."""

    def __init__(self, kind: str, reason: str, final: bool = False) -> None:
        super().__init__(reason)
        self.kind = kind
        self.reason = reason
        self.final = final


class _Child:
    """The process, and the two pipes to it."""

    def __init__(self) -> None:
        # A subprocess and not multiprocessing: Dask's workers are daemonic and may have no such children.
        # -P: the folder the worker runs in must not lend the child its modules.
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", "prefect_ollama.tasks.parsing.child"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            bufsize=_PIPE_BYTES,
            # One thread for Tesseract: every core has a parser of its own.
            env={**os.environ, "OMP_THREAD_LIMIT": "1"},
        )
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._requests: BinaryIO = self._process.stdin  # type: ignore[assignment]
        self._answers: BinaryIO = self._process.stdout  # type: ignore[assignment]
        timer = threading.Timer(START_SECONDS, self.kill)
        timer.start()
        try:
            line = protocol.read_line(self._answers, protocol.SHORT)
        except protocol.ProtocolError:
            line = None
        finally:
            timer.cancel()
        if line is None or line.kind != protocol.READY:
            self.kill()
            raise _Stopped("parser", "the parser process does not start")

    def send(self, request: dict[str, Any]) -> None:
        protocol.write_request(self._requests, request)

    def receive(self, limit: int) -> protocol.Line | None:
        return protocol.read_line(self._answers, limit)

    def has_ended(self) -> bool:
        return self._process.poll() is not None

    def wait(self) -> int:
        with contextlib.suppress(subprocess.TimeoutExpired):
            return self._process.wait(5)
        self._process.kill()
        return self._process.wait()

    def end(self) -> None:
        with contextlib.suppress(OSError):
            self._requests.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(2)
        self.kill()

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()
        for stream in (self._requests, self._answers):
            with contextlib.suppress(OSError):
                stream.close()


class _Clock:
    """Kills the child when the time for the file is up; works where pipes cannot be polled, too."""

    def __init__(self, child: _Child, seconds: float) -> None:
        self._child = child
        self._deadline = time.monotonic() + seconds
        self.ran_out = False
        self.for_ocr = False
        self._timer = self._start()

    def restart(self, seconds: float) -> None:
        """Give the child this many seconds from now on, for OCR."""
        self.stop()
        self._deadline = time.monotonic() + seconds
        self.for_ocr = True
        self._timer = self._start()

    def stop(self) -> None:
        self._timer.cancel()

    def _start(self) -> threading.Timer:
        timer = threading.Timer(max(0.0, self._deadline - time.monotonic()), self._kill)
        timer.daemon = True
        timer.start()
        return timer

    def _kill(self) -> None:
        self.ran_out = True
        self._child._process.kill()


def _signal(name: str) -> int:
    return int(getattr(signal, name, 0)) or 1000


def _look(path: Path) -> None:
    """Refuse at once what is no regular file with content; the child looks again at what it has opened."""
    try:
        status = path.stat()
    except FileNotFoundError:
        raise _refused(path, "missing", "there is no such file") from None
    except OSError as error:
        raise _refused(path, "unreadable", f"it cannot be looked at ({error.strerror})") from None
    if not stat.S_ISREG(status.st_mode):
        kinds = {stat.S_IFDIR: "a directory", stat.S_IFIFO: "a FIFO", stat.S_IFSOCK: "a socket"}
        what = kinds.get(stat.S_IFMT(status.st_mode), "a device")
        raise _refused(path, "not-a-file", f"it is {what}, no regular file")
    if status.st_size == 0:
        raise _refused(path, "empty", "it has no content (0 bytes)")


def _refused(path: Path, kind: str, reason: str) -> DocumentError:
    return DocumentError(
        f"{reason}.",
        path=str(path),
        kind=kind,
        state="Nothing of it was kept.",
        remedy=REMEDIES.get(kind, ""),
    )
