"""F1 of cell relations: which cells stand next to each other, by the measure of the ICDAR-2013 competition.

A relation is a pair of cells with text that stand next to each other in a row or in a column, blank cells passed over
(M. Göbel et al., "A methodology for evaluating algorithms for table understanding in PDF documents", DocEng 2012).
"""

from __future__ import annotations

import itertools
import unicodedata
import xml.etree.ElementTree as ET
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from benchmarks.quality.sets import TablePages
from prefect_ollama.tasks.parsing import ParsedDocument, ParseOptions, Parser

Grid = list[list[tuple[int, str]]]
"""Rows of cells, each with a number (a cell that spans places stands in each of them) and its text."""

Relation = tuple[str, str, str]


class Score(NamedTuple):
    """Precision, recall and F1 over all relations of a set, and the mean F1 of its documents."""

    precision: float
    recall: float
    f1: float
    mean_f1: float


def score(pages: TablePages, parser: Parser) -> Score:
    """Compare the tables that the parser finds with the truth."""
    right = found = true = 0
    each = []
    for pdf, truths in pages.truths:
        expected = Counter(
            relation for truth in truths for grid in true_grids(truth) for relation in relations(grid)
        )
        document = parser.parse(pdf, ParseOptions(ocr="off"))
        ours = Counter(relation for grid in our_grids(document) for relation in relations(grid))
        same = (expected & ours).total()
        right, found, true = right + same, found + ours.total(), true + expected.total()
        each.append(2 * same / ((ours.total() + expected.total()) or 1))
    precision, recall = right / (found or 1), right / (true or 1)
    return Score(precision, recall, 2 * right / ((found + true) or 1), sum(each) / len(each))


def relations(grid: Grid) -> Iterator[Relation]:
    """Give the relations of a table: right neighbours, then lower ones."""
    columns = [[row[i] for row in grid if i < len(row)] for i in range(max(map(len, grid), default=0))]
    for direction, lines in (("right", grid), ("below", columns)):
        seen: set[tuple[int, int]] = set()
        for line in lines:
            filled = [cell for cell in line if cell[1]]
            for first, second in itertools.pairwise(filled):
                if first[0] != second[0] and (pair := (first[0], second[0])) not in seen:
                    seen.add(pair)
                    yield first[1], second[1], direction


def true_grids(truth: Path) -> Iterator[Grid]:
    """Read the tables of an ICDAR truth file, the regions of a table over several pages one by one."""
    for region in ET.parse(truth).iter("region"):
        cells = []
        for cell in region.iter("cell"):
            top, left = int(cell.get("start-row", 0)), int(cell.get("start-col", 0))
            bottom, last = int(cell.get("end-row", top)), int(cell.get("end-col", left))
            cells.append((top, bottom, left, last, plain(cell.findtext("content", ""))))
        if cells:
            yield _grid(cells)


def _grid(cells: Sequence[tuple[int, int, int, int, str]]) -> Grid:
    rows, columns = max(cell[1] for cell in cells) + 1, max(cell[3] for cell in cells) + 1
    grid: Grid = [[(-1, "")] * columns for _ in range(rows)]
    for number, (top, bottom, left, last, text) in enumerate(cells):
        for row in range(top, bottom + 1):
            for column in range(left, last + 1):
                grid[row][column] = (number, text)
    return grid


def our_grids(document: ParsedDocument) -> Iterator[Grid]:
    """Read the Markdown tables of a parsed document."""
    number = 0
    for page in document.pages:
        for block in page.blocks:
            if block.kind == "table":
                grid: Grid = []
                for line in block.text.split("\n"):
                    cells = _cells(line)
                    if all(set(cell) <= set("-: ") for cell in cells):
                        continue
                    grid.append([(number + i, plain(cell)) for i, cell in enumerate(cells)])
                    number += len(cells)
                if grid:
                    yield grid


def _cells(line: str) -> list[str]:
    return [cell.replace("\0", "|") for cell in line.replace("\\|", "\0").strip().strip("|").split("|")]


def plain(text: str | Iterable[str]) -> str:
    """Text without white space and in one form, as the competition's measure compares it."""
    joined = unicodedata.normalize("NFKC", "".join(text))
    return "".join(character for character in joined if not character.isspace()).casefold()
