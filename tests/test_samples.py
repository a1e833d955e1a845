"""The samples are what their README and their labelled questions say they are."""

import json
import re
import unicodedata
from collections import Counter
from pathlib import Path
from typing import Any

import pymupdf
import pytest

SAMPLES = Path(__file__).parent.parent / "samples"
FILES = sorted(SAMPLES.glob("*.pdf"))


def labels(name: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (SAMPLES / name).read_text(encoding="utf-8").splitlines()]


QUESTIONS = labels("questions.jsonl")
UNANSWERABLE = labels("unanswerable.jsonl")
FRESH = [label for label in labels("fresh.jsonl") if "answer" in label]
FRESH_UNANSWERABLE = [label for label in labels("fresh.jsonl") if "answer" not in label]
PAGES = {
    "agpl-3.pdf": 15,
    "bicycle-gears.pdf": 5,
    "canal-du-midi-fr.pdf": 3,
    "dead-sea-he.pdf": 1,
    "invoice.pdf": 2,
    "lamp-scan.pdf": 2,
    "lighthouses-slides.pdf": 12,
    "line-telemetry.pdf": 4,
    "measuring-the-world.pdf": 53,
    "printing-press.pdf": 6,
    "salz-de.pdf": 4,
    "sourdough.pdf": 7,
    "tea-ja.pdf": 3,
    "tides.pdf": 4,
    "weather-station.pdf": 8,
}


def spaced(text: str) -> str:
    """Ligatures apart, hyphens at line ends joined, case gone, white space single."""
    text = unicodedata.normalize("NFKC", text)
    text = re.sub(r"[-\u00ad\u2010]\n", "", text)
    return " ".join(text.replace("’", "'").split()).casefold()


def plain(text: str) -> str:
    """The same without white space."""
    return spaced(text).replace(" ", "")


def readable(page: pymupdf.Page) -> str:
    """Text and the values of form fields, which are no part of the page's own text."""
    fields = [str(widget.field_value) for widget in page.widgets()]
    return "\n".join([page.get_text(), *fields])


def test_no_file_is_missing_or_undeclared() -> None:
    assert {path.name for path in FILES} == set(PAGES)
    listed = set(re.findall(r"`([a-z0-9-]+\.pdf)`", (SAMPLES / "README.md").read_text(encoding="utf-8")))
    assert listed == set(PAGES)


def test_all_together_are_under_five_megabytes() -> None:
    assert sum(path.stat().st_size for path in FILES) < 5_000_000


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_each_opens_with_its_pages_and_metadata(path: Path) -> None:
    with pymupdf.open(path) as document:
        assert document.page_count == PAGES[path.name]
        assert not document.is_repaired
        assert document.metadata["title"]
        assert document.metadata["author"] in ("prefect-ollama samples", "Free Software Foundation")
        assert document.metadata["creationDate"] == "D:20260101120000Z"
        has_text = any(readable(page).strip() for page in document)
        assert has_text == (path.name != "lamp-scan.pdf")


def test_the_kinds_that_the_readme_promises_are_there() -> None:
    with pymupdf.open(SAMPLES / "lamp-scan.pdf") as scan:
        for page in scan:
            (image,) = page.get_image_info()
            assert pymupdf.Rect(image["bbox"]).get_area() > 0.9 * page.rect.get_area()
    with pymupdf.open(SAMPLES / "bicycle-gears.pdf") as gears:
        assert [page.rotation for page in gears] == [0, 0, 0, 0, 90]
        heads = ["Metres a turn" in page.get_text() for page in gears]
        assert heads == [False, False, True, True, False]
    with pymupdf.open(SAMPLES / "measuring-the-world.pdf") as book:
        chapters = [title for level, title, _ in book.get_toc() if level == 1 and title[0].isdigit()]
        assert len(chapters) == 14
        for level, title, page in book.get_toc():
            assert level in (1, 2)
            assert plain(title) in plain(book[page - 1].get_text())
        assert re.search(r"\w-\n", book[2].get_text()), "hyphenated line ends"
    with pymupdf.open(SAMPLES / "printing-press.pdf") as essay:
        assert "\ufb01" in "".join(page.get_text(flags=pymupdf.TEXT_PRESERVE_LIGATURES) for page in essay)
    with pymupdf.open(SAMPLES / "invoice.pdf") as invoice:
        assert len(list(invoice[1].widgets())) == 6


@pytest.mark.sampled(70)
@pytest.mark.parametrize("question", QUESTIONS + FRESH, ids=lambda q: q["question"][:60])
def test_the_answer_stands_on_the_pages_of_the_label(question: dict[str, Any]) -> None:
    assert set(question) - {"ocr"} == {"question", "answer", "file", "pages", "language", "kind"}
    assert question["pages"]
    with pymupdf.open(SAMPLES / question["file"]) as document:
        for number in question["pages"]:
            text = readable(document[number - 1])
            if question.get("ocr"):
                assert not text.strip()
            else:
                assert plain(question["answer"]) in plain(text)


def test_the_answer_of_a_scan_stands_in_its_source() -> None:
    source = plain((SAMPLES / "make" / "texts" / "scan-log.md").read_text(encoding="utf-8"))
    scanned = [question for question in QUESTIONS + FRESH if question.get("ocr")]
    assert scanned
    for question in scanned:
        assert question["file"] == "lamp-scan.pdf"
        assert plain(question["answer"]) in source


def test_the_set_is_large_and_mixed_enough() -> None:
    english = [question for question in QUESTIONS if question["language"] == "en"]
    assert len(english) >= 60
    assert len({question["question"] for question in QUESTIONS}) == len(QUESTIONS)
    assert {question["file"] for question in QUESTIONS} == set(PAGES)
    kinds = Counter(question["kind"] for question in english)
    assert kinds["paraphrase"] >= 30
    assert kinds["table"] >= 8
    assert kinds["fact"] >= 15


def test_the_fresh_questions_are_many_mixed_and_not_the_old_ones() -> None:
    assert len(FRESH) >= 60
    assert {question["file"] for question in FRESH} == set(PAGES)
    kinds = Counter(question["kind"] for question in FRESH)
    assert kinds["paraphrase"] >= 30
    assert kinds["table"] >= 8
    assert len(FRESH_UNANSWERABLE) >= 60
    kinds = Counter(question["kind"] for question in FRESH_UNANSWERABLE)
    assert set(kinds) == {"attribute", "year", "entity", "premise", "follow-up", "off-topic"}
    assert min(kinds.values()) >= 10
    every = [each["question"] for each in QUESTIONS + UNANSWERABLE + FRESH + FRESH_UNANSWERABLE]
    assert len({plain(question) for question in every}) == len(every)


def test_the_documents_lack_the_words_of_answers_to_unanswerable_questions() -> None:
    texts: dict[str, str] = {}
    for path in FILES:
        with pymupdf.open(path) as document:
            texts[path.stem] = spaced("\n".join(readable(page) for page in document))
    texts["lamp-scan"] = spaced((SAMPLES / "make" / "texts" / "scan-log.md").read_text(encoding="utf-8"))
    for question in FRESH_UNANSWERABLE:
        assert set(question) == {"question", "kind", "topic", "language", "absent"}
        assert question["absent"]
        where = texts.values() if question["topic"] == "none" else [texts[question["topic"]]]
        for word in question["absent"]:
            assert not any(spaced(word) in text for text in where), (question["question"], word)


def test_making_them_again_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(SAMPLES.parent))
    from samples.make.catalogue import DOCUMENTS

    assert set(DOCUMENTS) == set(PAGES)
    for name in ("tides.pdf", "invoice.pdf", "tea-ja.pdf", "bicycle-gears.pdf"):
        assert DOCUMENTS[name]() == (SAMPLES / name).read_bytes(), (
            f"run: uv run python -m samples.make {name}"
        )
