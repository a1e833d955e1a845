"""A second format, plain text with page breaks, that shows what another format takes: this module and nothing else.

It is both halves, the parent's `TextFormat` and the `make_reader` of the child. A page that begins with `!` does what a
hostile file may do to the reader.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import orjson

from prefect_ollama.tasks.parsing import (
    Block,
    Box,
    DocumentFormat,
    Metadata,
    Page,
    ParsedDocument,
    ParseOptions,
    Problem,
)
from prefect_ollama.tasks.parsing.sandbox import ExtraTime, Talk
from prefect_ollama.tasks.parsing.sandbox.protocol import Line

ROOT = Path(__file__).parent.parent


class TextFormat(DocumentFormat):
    suffixes = (".txt", ".text")
    version = 7
    module = "tests.text_format"

    def request(self, path: Path, options: ParseOptions) -> dict[str, Any]:
        return {"shout": options.running_heads == "keep"}

    def setup(self, options: ParseOptions) -> dict[str, Any]:
        return {"title": "Set up"}

    def extra(self, options: ParseOptions) -> ExtraTime | None:
        return ExtraTime(options.ocr_seconds, "slow", "extra work took too long", "Raise `ocr_seconds`.")

    def environment(self) -> Mapping[str, str]:
        return {"PYTHONPATH": str(ROOT)}


class Reader:
    readable = ()

    def __init__(self, setup: Mapping[str, Any]) -> None:
        self._title = setup["title"]

    def read(self, file: int, request: Mapping[str, Any], talk: Talk) -> ParsedDocument:
        with open(file, "rb", closefd=False) as opened:
            texts = opened.read().decode().split("\f")
        talk.pages(len(texts))
        talk.entry(b"count", 0, orjson.dumps(len(texts)))
        kept: dict[int, str] = {}
        for number, text in enumerate(texts):
            match text.split():
                case ["!loop", *_]:
                    while True:
                        pass
                case ["!sleep", *_]:
                    time.sleep(60)
                case ["!memory", *_]:
                    bytearray(2**31)
                case ["!die", *_]:
                    os._exit(3)
                case ["!refuse", *_]:
                    raise ValueError("a page says so")
                case ["!say", kind, page, *body]:
                    talk.say(kind.encode(), int(page), " ".join(body).encode())
                case ["!extra", *_]:
                    talk.begin_extra(number, 0.5)
                    time.sleep(60)
            talk.entry(b"text", number, orjson.dumps(text))
            talk.worth_keeping()
            talk.read(number)
            kept[number] = text
        talk.all_read()
        return self._made(kept, len(texts), request, talk)

    def replay(
        self, journal: Iterator[Line], stopped: tuple[str, str, str], request: Mapping[str, Any], talk: Talk
    ) -> ParsedDocument:
        count, *texts = journal
        kept = {line.page: line.json() for line in texts}
        kind, reason, remedy = stopped
        problems = [
            Problem(number + 1, kind, f"Not read: {reason}.", remedy)
            for number in range(count.json())
            if number not in kept
        ]
        return self._made(kept, count.json(), request, talk, problems)

    def refusal(self, error: Exception) -> tuple[str, str]:
        if isinstance(error, MemoryError):
            return "memory", "it takes more memory than allowed"
        return "damaged", f"it cannot be read ({error})"

    def _made(
        self,
        texts: Mapping[int, str],
        count: int,
        request: Mapping[str, Any],
        talk: Talk,
        problems: list[Problem] | None = None,
    ) -> ParsedDocument:
        talk.make()
        pages = [
            Page(
                number + 1,
                100,
                100,
                tuple(
                    Block("paragraph", part.upper() if request["shout"] else part, Box(0, 0, 100, 100))
                    for part in text.split("\n\n")
                ),
            )
            for number, text in sorted(texts.items())
        ]
        return ParsedDocument(tuple(pages), count, Metadata(self._title), tuple(problems or ()), {"blank": 2})


def make_reader(setup: Mapping[str, Any]) -> Reader:
    return Reader(setup)
