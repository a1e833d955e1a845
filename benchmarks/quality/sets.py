"""The sets, read from folders: reports with questions, abstracts with claims, pages with tables."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True, slots=True)
class Question:
    """A question with what answers it.

    Attributes:
        text: The question.
        relevant: Pages of `file` (FinanceBench) or ids of documents (SciFact).
        file: Name of the PDF that holds the answer; empty for sets without files.
    """

    text: str
    relevant: frozenset[Any]
    file: str = ""


@dataclass(frozen=True, slots=True)
class Reports:
    """PDFs and questions whose evidence pages are known, as FinanceBench has them."""

    name: str
    files: tuple[Path, ...]
    questions: tuple[Question, ...]


@dataclass(frozen=True, slots=True)
class Abstracts:
    """Short documents and claims, as BEIR's SciFact has them. `documents` maps an id to its title and text."""

    name: str
    documents: dict[str, str]
    questions: tuple[Question, ...]


@dataclass(frozen=True, slots=True)
class TablePages:
    """PDFs with the truth of their tables beside them (`NAME-str.xml`), as the ICDAR-2013 competition has them."""

    name: str
    truths: tuple[tuple[Path, tuple[Path, ...]], ...]


def find_sets(folder: Path) -> Iterator[Reports | Abstracts | TablePages]:
    """Read every set in a folder, or in the folders that it holds."""
    for place in (folder, *sorted(each for each in folder.iterdir() if each.is_dir())):
        pdfs = tuple(sorted(place.glob("*.pdf")))
        corpus = next(place.glob("corpus.jsonl*"), None)
        questions = place / "questions.jsonl"
        if corpus is not None and questions.is_file():
            yield _abstracts(place.name, corpus, questions)
        elif pdfs and questions.is_file():
            yield _reports(place.name, pdfs, questions)
        elif pdfs and next(place.glob("*-str.xml"), None) is not None:
            pairs = ((pdf, tuple(sorted(place.glob(f"{pdf.stem}*-str.xml")))) for pdf in pdfs)
            yield TablePages(place.name, tuple((pdf, truth) for pdf, truth in pairs if truth))


def _lines(file: Path) -> Iterator[dict[str, Any]]:
    with (
        gzip.open(file, "rt", encoding="utf-8")
        if file.suffix == ".gz"
        else file.open(encoding="utf-8") as lines
    ):
        for line in lines:
            if line.strip():
                yield json.loads(line)


def _reports(name: str, pdfs: tuple[Path, ...], questions: Path) -> Reports:
    asked = tuple(
        Question(each["question"], frozenset(each["pages"]), each["file"])
        for each in _lines(questions)
        # English alone, and no scans: the model reads nothing else, and the splitters have no OCR.
        if each.get("language", "en") == "en" and not each.get("ocr")
    )
    return Reports(name, pdfs, asked)


def _abstracts(name: str, corpus: Path, questions: Path) -> Abstracts:
    documents = {each["id"]: f"{each.get('title', '')} {each['text']}".strip() for each in _lines(corpus)}
    asked = tuple(Question(each["question"], frozenset(each["relevant"])) for each in _lines(questions))
    return Abstracts(name, documents, asked)
