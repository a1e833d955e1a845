"""PDFs for benchmarks of whole flows, written fast: plain text, no two sentences alike."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from pathlib import Path

from benchmarks.flow import WORDS

LINES, WIDTH = 52, 90


def pages(count: int, dice: random.Random) -> list[list[str]]:
    """Pages of lines, in paragraphs of some sentences."""
    return [list(_lines(dice)) for _ in range(count)]


def write_pdf(path: Path, pages: Sequence[Sequence[str]]) -> None:
    """Write a PDF with these lines on its pages; an empty line ends a paragraph."""
    kids = " ".join(f"{4 + 2 * number} 0 R" for number in range(len(pages)))
    objects = [
        b"<</Type/Catalog/Pages 2 0 R>>",
        f"<</Type/Pages/Count {len(pages)}/Kids[{kids}]>>".encode(),
        b"<</Type/Font/Subtype/Type1/BaseFont/Helvetica>>",
    ]
    for number, lines in enumerate(pages):
        shown = " ".join(f"({line}) Tj T*" for line in lines)
        content = f"BT /F 10 Tf 13 TL 60 770 Td {shown} ET".encode()
        objects += [
            b"<</Type/Page/Parent 2 0 R/MediaBox[0 0 595 842]/Resources<</Font<</F 3 0 R>>>>"
            + f"/Contents {5 + 2 * number} 0 R>>".encode(),
            f"<</Length {len(content)}>>stream\n".encode() + content + b"\nendstream",
        ]
    written, offsets = bytearray(b"%PDF-1.4\n"), []
    for number, each in enumerate(objects, 1):
        offsets.append(len(written))
        written += f"{number} 0 obj".encode() + each + b"endobj\n"
    start = len(written)
    written += f"xref\n0 {len(objects) + 1}\n0000000000 65535 f \n".encode()
    written += b"".join(f"{offset:010} 00000 n \n".encode() for offset in offsets)
    written += f"trailer<</Size {len(objects) + 1}/Root 1 0 R>>\nstartxref\n{start}\n%%EOF".encode()
    path.write_bytes(written)


def write_papers(folder: Path, documents: int, pages_each: int, seed: int = 0) -> None:
    """Write so many PDFs of so many pages."""
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(documents):
        dice = random.Random(f"{seed} {number}")
        write_pdf(folder / f"document-{number:05}.pdf", pages(pages_each, dice))


def _lines(dice: random.Random) -> Iterator[str]:
    left = LINES
    while left > 0:
        words: list[str] = []
        for _ in range(dice.randint(3, 5)):
            words += [*dice.choices(WORDS, k=dice.randint(8, 14)), f"{dice.random():.6f}."]
        line = ""
        for word in words:
            if len(line) + len(word) > WIDTH:
                yield line
                left -= 1
                line = ""
                if left <= 0:
                    return
            line += f" {word}" if line else word.capitalize()
        yield line
        yield ""
        left -= 2
