"""The process that reads files: `python -m prefect_ollama.tasks.parsing.sandbox.child MODULE`.

MODULE reads the files of one format (`file_reader`). This process reads requests from its standard input and answers
on its standard output, line by line. All work that depends on the content of a file is done here, within limits. The
process may end at any moment, by its own limit or by its parent; the lines that it wrote before are complete. Before
the first file it gives up all rights that it does not need (see `confinement`).
"""

import binascii
import gc
import os
import socket
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any, BinaryIO, Final

import orjson

from prefect_ollama.blocks.child_processes import end_with_parent
from prefect_ollama.tasks.parsing.document import ParsedDocument
from prefect_ollama.tasks.parsing.errors import Stopped
from prefect_ollama.tasks.parsing.sandbox import confinement, protocol
from prefect_ollama.tasks.parsing.sandbox.file_reader import FileReader, MakeReader, PageDrawer, Talk
from prefect_ollama.tasks.parsing.sandbox.limits import Limits
from prefect_ollama.tasks.parsing.sandbox.protocol import Budget

# Objects that files may leave behind before those in reference cycles are searched: a few MiB.
_MAX_OBJECTS: Final = 20_000


@dataclass(frozen=True, slots=True)
class Ceiling:
    """The hard limits of a child for all its files, and its setup. The parent passes it as JSON on the command line.

    Attributes:
        memory_mb: Memory beyond that at rest, in MiB, with the mapped file; None for no hard limit.
        cpu_seconds: CPU time of all files together; None for no hard limit.
        setup: The argument of `make_reader`.
        descriptors: Number of the socket over which open files come; None if there is none.
        progress: Number of the file in memory that has the progress; None if there is none.
    """

    memory_mb: int | None = None
    cpu_seconds: float | None = None
    setup: Mapping[str, Any] = field(default_factory=dict)
    descriptors: int | None = None
    progress: int | None = None


class _Child:
    def __init__(self, requests: BinaryIO, answers: int, ceiling: Ceiling, reader: FileReader) -> None:
        self._requests = requests
        self._answers = answers
        self._files = None if ceiling.descriptors is None else socket.socket(fileno=ceiling.descriptors)
        self._progress = ceiling.progress
        self._reader = reader
        # Limits come before the confinement, after which this process may not open /proc.
        self._limits = Limits(memory_mb=ceiling.memory_mb, cpu_seconds=ceiling.cpu_seconds)
        self._unconfined = confinement.confine(reader.readable)

    def serve(self) -> None:
        """Answer requests until the parent closes the pipe."""
        protocol.write_all(
            self._answers,
            protocol.write_line(protocol.READY, 0, orjson.dumps({"unconfined": self._unconfined})),
        )
        while line := self._requests.readline(protocol.MAX_SHORT_LINE_BYTES):
            self._answer(orjson.loads(line))

    def _answer(self, request: dict[str, Any]) -> None:
        cpu = time.process_time()
        budget = Budget(**request["budget"])
        talk = Talk(self._answers, self._limits, budget, self._progress)
        file, size = -1, 0  # a journal comes without the file
        with ExitStack() as opened:
            if "journal" not in request:
                file = self._opened(request)
                opened.callback(os.close, file)
                size = os.fstat(file).st_size
            self._limits.apply(
                cpu=budget.cpu_seconds,
                wall=budget.wall_seconds,
                # RLIMIT_AS counts addresses, and a mapped file takes addresses but no memory.
                memory_mb=budget.memory_mb + size // 2**20 + 1,
            )
            done = self._done(request, file, talk)
            self._limits.lift()
        # The collector is off (see `main`). A collection takes as long as parsing half a page, and mostly finds
        # nothing.
        if gc.get_count()[0] > _MAX_OBJECTS:
            gc.collect()
        done |= {"cpu_seconds": time.process_time() - cpu, "grown_mb": self._limits.grown_mb}
        talk.say(protocol.DONE, 0, protocol.encoded(done))

    def _opened(self, request: dict[str, Any]) -> int:
        if self._files is None:
            return os.open(bytes.fromhex(request["path"]), os.O_RDONLY | getattr(os, "O_BINARY", 0))
        _, descriptors, _, _ = socket.recv_fds(self._files, 1, 1)
        return descriptors[0]

    def _done(self, request: dict[str, Any], file: int, talk: Talk) -> dict[str, Any]:
        try:
            if "draw" in request:
                return self._draw(request, file, talk)
            document = self._document(request, file, talk)
            for lines in protocol.encoded_pages(document.pages):
                talk.write(lines)
            return protocol.encoded_rest(document)
        except BrokenPipeError:  # the parent is gone, so a refusal would not be read
            raise
        except Exception as error:
            if isinstance(error, Stopped):
                kind, message = error.kind, error.reason
            else:
                kind, message = self._reader.refusal(error)
            talk.say(protocol.FAILED, 0, orjson.dumps({"kind": kind, "message": message}))
        return {}

    def _document(self, request: dict[str, Any], file: int, talk: Talk) -> ParsedDocument:
        order = request["request"]
        if "journal" in request:
            kind, reason, remedy = request["stopped"]
            return self._reader.replay(self._journal(request["journal"]), (kind, reason, remedy), order, talk)
        return self._reader.read(file, order, talk)

    def _draw(self, request: dict[str, Any], file: int, talk: Talk) -> dict[str, Any]:
        if not isinstance(self._reader, PageDrawer):
            raise Stopped("no-picture", "pages of its format cannot be drawn")
        png, share = self._reader.draw(file, request["request"], **request["draw"])
        talk.say(protocol.PICTURE, request["draw"]["page"], binascii.b2a_base64(png, newline=False))
        return {"share": share}

    def _journal(self, lines: int) -> Iterator[protocol.Line]:
        for _ in range(lines):
            yield protocol.read_line(self._requests.readline(protocol.MAX_MESSAGE_BYTES).rstrip(b"\n"))


def main(arguments: Sequence[str] = sys.argv[1:]) -> None:
    """Serve the parent that started this process."""
    end_with_parent()
    module, *rest = arguments
    ceiling = Ceiling(**orjson.loads(rest[0])) if rest else Ceiling()
    # Output of a library must not mix with the protocol, so the pipe moves to another descriptor.
    pipe = os.dup(1)
    with open(os.devnull, "wb") as null:  # noqa: PTH123
        os.dup2(null.fileno(), 1)
    make_reader: MakeReader = import_module(module).make_reader
    reader = make_reader(ceiling.setup)
    # A file makes hardly any reference cycles, and the collector takes a twentieth of the time. `freeze` also keeps
    # it from scanning the modules (https://docs.python.org/3/library/gc.html#gc.freeze).
    gc.freeze()
    gc.disable()
    try:
        _Child(sys.stdin.buffer, pipe, ceiling, reader).serve()
    except MemoryError:
        # At once: to shut down the interpreter would need memory too.
        os._exit(protocol.OUT_OF_MEMORY)


if __name__ == "__main__":
    main()
