"""A parser that no file can stop: the work is done in a child process, which is watched and replaced.

The child is started when the first file comes, reused for the next ones, and replaced when it died, was killed
at a limit, or grew. Pages arrive one by one, so that those read before a kill are kept where the caller wants
partial documents. Nothing is ever waited for longer than the limits of `ParseOptions` allow.
"""

from __future__ import annotations

import os
import stat
import time
from pathlib import Path
from types import TracebackType
from typing import Final

from prefect_ollama.blocks.errors import DocumentError
from prefect_ollama.tasks.parsing import protocol
from prefect_ollama.tasks.parsing.document import ParsedDocument
from prefect_ollama.tasks.parsing.options import ParseOptions
from prefect_ollama.tasks.parsing.process import CannotStart, ChildProcess
from prefect_ollama.tasks.parsing.reading import Reading

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
    "parser": "Run `python -m prefect_ollama.tasks.parsing.child` on this host to see why it does not start.",
}
"""What to do next, for every kind of refusal."""

_LIMITS: Final = frozenset({"memory", "cpu-time", "wall-time", "crashed", "too-large"})
# With so many pages, none is waited for by itself.
_MANY_PAGES: Final = 20
# A child that holds so much more than it did at rest, in MiB, is replaced before the next file.
_GROWN_MB: Final = 400.0


class Parser:
    """Reads PDF files in a child process of its own, one at a time. Not thread-safe; a context manager."""

    def __init__(self) -> None:
        self._child: ChildProcess | None = None

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
        started = time.monotonic()
        try:
            _look(path)
            reading = self._read(path, options)
        except _Stopped as stop:
            raise DocumentError(
                f"{stop.reason}.",
                path=str(path),
                kind=stop.kind,
                state="Nothing of it was kept.",
                remedy=REMEDIES[stop.kind],
            ) from None
        return reading.finish(time.monotonic() - started)

    def _read(self, path: Path, options: ParseOptions) -> Reading:
        child = self._ready_child()
        used_before = child.files > 0
        job = _Job(child, path, options)
        started = time.monotonic()
        try:
            job.run()
        except _Stopped as stop:
            if not job.child_is_well:
                self._discard()
            if used_before and not job.received and time.monotonic() - started < options.wall_seconds:
                # The child may have died while it had nothing to do; only a second death is the file's doing.
                return self._read(path, options)
            if not (options.allow_partial and stop.kind in _LIMITS and job.reading.has_pages):
                raise
            job.reading.stopped(stop.kind, stop.reason, REMEDIES[stop.kind])
        except BaseException:
            self._discard()
            raise
        finally:
            child.stop_clock()
        if not job.child_is_well:
            self._discard()
        elif job.grown_mb > _GROWN_MB:
            self.close()
        return job.reading

    def _ready_child(self) -> ChildProcess:
        if self._child is None:
            try:
                self._child = ChildProcess()
            except CannotStart:
                raise _Stopped("parser", "the parser process does not start") from None
        return self._child

    def _discard(self) -> None:
        if self._child is not None:
            self._child.kill()
            self._child = None


class _Stopped(Exception):
    """Reading came to an end before the last page."""

    def __init__(self, kind: str, reason: str) -> None:
        super().__init__(reason)
        self.kind = kind
        self.reason = reason


class _Job:
    """One file: what is said to the child about it, and what comes back."""

    def __init__(self, child: ChildProcess, path: Path, options: ParseOptions) -> None:
        self._child = child
        self._path = path
        self._options = options
        self._all_text_seen = False
        self.reading = Reading(options)
        self.received = 0
        self.child_is_well = False
        self.grown_mb = 0.0

    def run(self) -> None:
        """Read the file to its end.

        Raises:
            _Stopped: It is refused, or a limit was reached before all its text was there.
        """
        options, child = self._options, self._child
        child.files += 1
        child.take_time(False)
        child.allow(options.wall_seconds)
        child.send(
            {
                # Bytes that are no UTF-8 travel as lone surrogates, which JSON cannot hold.
                "path": os.fsencode(self._path.absolute()).hex(),
                "passwords": options.passwords_for(self._path),
                "cpu_seconds": options.cpu_seconds,
                "wall_seconds": options.wall_seconds,
                "memory_mb": options.memory_mb,
                "max_pages": options.max_pages,
            }
        )
        refusal = None
        while (line := self._receive()).kind != protocol.DONE:
            try:
                refusal = self._take(line) or refusal
            except protocol.ProtocolError as error:
                raise _Stopped("crashed", f"the parser process says what makes no sense ({error})") from error
        if line is not _DIED_LOOKING_AGAIN:
            done = line.json()
            self.reading.done(done["cpu_seconds"])
            self.grown_mb = done["grown_mb"]
            self.child_is_well = True
        if refusal is not None:
            raise refusal
        if not self.reading.has_pages:
            raise _Stopped("damaged", f"none of its pages can be read: {self.reading.first_failure}")

    def _take(self, line: protocol.Line) -> _Stopped | None:
        kind, reading = line.kind, self.reading
        if kind == protocol.PAGE:
            reading.page(line)
        elif kind == protocol.PAGE_FAILED:
            failure = line.json()
            if failure["kind"] == "memory" and not self._options.allow_partial and not self._all_text_seen:
                raise _Stopped("memory", f"page {line.page + 1} takes more memory than allowed")
            reading.page_failed(line.page, failure["kind"], failure["message"])
        elif kind == protocol.OPENED:
            reading.opened(line.json())
            self._child.take_time(reading.count > _MANY_PAGES)
        elif kind == protocol.LOOKED:
            self._all_text_seen = True
            self._child.take_time(False)
            more = reading.wants_more() or {}
            if more.get("ocr"):
                self._child.allow(more["ocr_seconds"])
            self._child.send(more)
        elif kind == protocol.PICTURES:
            reading.pictures(line)
        elif kind == protocol.TABLES:
            reading.tables(line)
        elif kind == protocol.OCR:
            reading.ocr(line)
        elif kind == protocol.FAILED:
            failure = line.json()
            return _Stopped(failure["kind"], failure["message"])
        return None

    def _receive(self) -> protocol.Line:
        left = max(0, self._options.output_mb * 2**20 - self.received)
        try:
            line = self._child.receive(min(left, protocol.LONGEST_PAGE) + 2**16)
        except protocol.ProtocolError as error:
            raise _Stopped(
                "too-large", f"it yields more than {self._options.output_mb} MiB of text"
            ) from error
        if line is not None:
            self.received += len(line.body)
            return line
        kind, reason = self._child.cause_of_death()
        if not self._all_text_seen:
            raise _Stopped(kind, f"{reason}, {self.reading.progress}")
        # What was there before the child looked again, for tables or with OCR, stays.
        self.reading.look_stopped(kind, reason)
        return _DIED_LOOKING_AGAIN


_DIED_LOOKING_AGAIN: Final = protocol.Line(protocol.DONE, 0, 0.0, 0.0, b"")


def _look(path: Path) -> None:
    """Refuse at once what is no regular file with content; the child looks again at what it has opened."""
    try:
        status = path.stat()
    except FileNotFoundError:
        raise _Stopped("missing", "there is no such file") from None
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) else error
        raise _Stopped("unreadable", f"it cannot be looked at ({why})") from None
    if not stat.S_ISREG(status.st_mode):
        kinds = {stat.S_IFDIR: "a directory", stat.S_IFIFO: "a FIFO", stat.S_IFSOCK: "a socket"}
        what = kinds.get(stat.S_IFMT(status.st_mode), "a device")
        raise _Stopped("not-a-file", f"it is {what}, no regular file")
    if status.st_size == 0:
        raise _Stopped("empty", "it has no content (0 bytes)")
