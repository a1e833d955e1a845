"""A parser that survives any file: a child process does the work, and is watched and replaced.

The child is started for the first file, reused for later ones, and replaced after it died, reached a limit, or grew.
Pages arrive one by one, so pages that were read before the child died are kept if the caller wants partial documents.
No wait is longer than the limits of `ParseOptions`.
"""

import os
import stat
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import fields
from pathlib import Path
from typing import Any, Final, Self

from prefect_ollama.blocks.documents import Region
from prefect_ollama.blocks.errors import DocumentError
from prefect_ollama.tasks.parsing.document import ParsedDocument
from prefect_ollama.tasks.parsing.errors import REMEDIES, Stopped
from prefect_ollama.tasks.parsing.format import DocumentFormat
from prefect_ollama.tasks.parsing.options import ParseOptions
from prefect_ollama.tasks.parsing.page_picture import PagePicture, Quoted
from prefect_ollama.tasks.parsing.pdf import PDF
from prefect_ollama.tasks.parsing.sandbox import (
    Budget,
    ChildProcess,
    Exchange,
    Order,
    PictureSession,
    Session,
)

# A child that has grown by this many MiB is replaced before the next file.
_GROWN_MB: Final = 400.0

# CPU seconds of a child for all its files, after which it is replaced. The limit is part of a hard limit, which the
# child cannot raise itself.
_CHILD_CPU_SECONDS: Final = 3600.0

# MiB of address space for a mapped file. A larger file gets a new child with more.
_FILE_MB: Final = 4096

# O_NONBLOCK, because opening a FIFO would wait for its writer.
_OPEN: Final = (
    os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)
)


class Parser:
    """Reads files of one format in a child process of its own, one at a time. Not thread-safe; a context manager.

    Args:
        format: The format.
    """

    def __init__(self, format: DocumentFormat = PDF) -> None:
        self._format = format
        self._child: ChildProcess | None = None
        self._ceiling: dict[str, Any] = {}
        self._cpu_seconds = 0.0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End the child. The parser may be used again; a new child is started then."""
        if self._child is not None:
            self._child.end()
            self._child = None

    @property
    def version(self) -> int:
        """Version of the format's reader."""
        return self._format.version

    @property
    def unconfined(self) -> tuple[str, ...]:
        """The parts of the child's confinement that this system does not offer, each with the reason."""
        return self._child.unconfined if self._child is not None else ()

    def parse(
        self, path: Path, options: ParseOptions | None = None, *, descriptor: int | None = None
    ) -> ParsedDocument:
        """Read one file.

        Args:
            path: The file; symbolic links are followed, and anything but a regular file is refused.
            options: Limits, and how the file is read.
            descriptor: The file, opened for reading. The path then only names it, and is not opened.

        Raises:
            DocumentError: The file cannot be read within the limits; `kind` is a key of `REMEDIES`.
        """
        options = options or ParseOptions()
        started = time.monotonic()
        with _opened(path, descriptor) as file:
            job = self._read(path, options, file)
        return job.document(time.monotonic() - started)

    def picture(
        self,
        path: Path,
        page: int,
        marks: Sequence[Region] = (),
        options: ParseOptions | None = None,
        *,
        quoted: Quoted | None = None,
        dpi: int = 110,
    ) -> PagePicture:
        """Return a page as PNG, with rectangles marked on it, or the words of a quote within them.

        Args:
            path: The file; symbolic links are followed, and anything but a regular file is refused.
            page: Counted from 1.
            marks: What to mark; those of other pages are left out.
            options: Limits and passwords; the defaults when not given.
            quoted: The words to mark; there is no picture where the page has none of them. None marks the rectangles.
            dpi: Resolution; lower for a page that is very large.

        Raises:
            DocumentError: The page cannot be drawn within the limits, or pages of this format are not drawn.
        """
        options = options or ParseOptions()
        with _opened(path, None) as file:
            job = PictureSession(
                self._order(path, options), file, page=page, marks=marks, dpi=dpi, quoted=quoted
            )
            self._run(job, self._ready_child(options, os.fstat(file).st_size), job.request())
        return PagePicture(job.png, job.share)

    def _read(self, path: Path, options: ParseOptions, descriptor: int) -> Session:
        size = os.fstat(descriptor).st_size
        child = self._ready_child(options, size)
        used_before = child.files > 0
        job = Session(self._order(path, options), descriptor)
        started = time.monotonic()
        try:
            self._run(job, child, job.request())
        except Stopped as stop:
            if used_before and not job.began and time.monotonic() - started < options.wall_seconds:
                # The child may have died while it had nothing to do; only a second death is the file's doing.
                return self._read(path, options, descriptor)
            if not job.worth_making(stop.kind):
                raise
            self._run(job, self._ready_child(options, size), *job.replay(stop.kind, stop.reason))
        return job

    def _run(self, job: Exchange, child: ChildProcess, request: dict[str, Any], journal: bytes = b"") -> None:
        """Run a session in a child, and discard the child if it may be in a bad state afterwards."""
        try:
            job.run(child, request, journal)
        except BaseException:
            # Its memory may be damaged, or it may still work on the file.
            if not job.child_is_well:
                self._discard()
            raise
        finally:
            child.stop_clock()
        self._cpu_seconds += job.cpu_seconds
        if job.grown_mb > _GROWN_MB or self._cpu_seconds > _CHILD_CPU_SECONDS:
            self.close()

    def _ready_child(self, options: ParseOptions, size: int) -> ChildProcess:
        """Return a child whose hard limits suffice for this file: the present one, or a new one."""
        extra = self._format.extra(options)
        ceiling = {
            "memory_mb": options.memory_mb + max(_FILE_MB, size // 2**20 + 1),
            # Twice the limit of a file: once to read it, and once to make the document after extra work.
            "cpu_seconds": _CHILD_CPU_SECONDS + 2 * options.cpu_seconds + (extra.seconds if extra else 0.0),
            "setup": self._format.setup(options),
        }
        if self._child is not None and self._ceiling and self._ceiling != ceiling:
            self.close()
        if self._child is None:
            self._child = ChildProcess(self._format.module, ceiling, self._format.environment())
            self._ceiling, self._cpu_seconds = ceiling, 0.0
        return self._child

    def _order(self, path: Path, options: ParseOptions) -> Order:
        budget = Budget(**{each.name: getattr(options, each.name) for each in fields(Budget)})
        request, extra = self._format.request(path, options), self._format.extra(options)
        return Order(os.fsencode(path.absolute()), budget, request, extra)

    def _discard(self) -> None:
        if self._child is not None:
            self._child.kill()
            self._child = None


@contextmanager
def _opened(path: Path, descriptor: int | None) -> Iterator[int]:
    """Open a file, or take one that is open; what stops the work becomes the error of this file."""
    opened = None
    try:
        if descriptor is None:
            descriptor = opened = _open(path)
        yield descriptor
    except Stopped as stop:
        raise DocumentError(
            f"{stop.reason}.",
            path=str(path),
            kind=stop.kind,
            state="Nothing of it was kept.",
            remedy=REMEDIES[stop.kind],
        ) from None
    finally:
        if opened is not None:
            os.close(opened)


def _open(path: Path) -> int:
    """Open a file; one that is not regular, or empty, is refused before a child is asked."""
    try:
        # Before it is opened: a device may do something then.
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            kinds = {stat.S_IFDIR: "a directory", stat.S_IFIFO: "a FIFO", stat.S_IFSOCK: "a socket"}
            what = kinds.get(stat.S_IFMT(status.st_mode), "a device")
            raise Stopped("not-a-file", f"it is {what}, no regular file")
        if status.st_size == 0:
            raise Stopped("empty", "it has no content (0 bytes)")
        return os.open(path, _OPEN)
    except FileNotFoundError:
        raise Stopped("missing", "there is no such file") from None
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) else error
        raise Stopped("unreadable", f"it cannot be read ({why})") from None
