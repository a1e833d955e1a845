"""What a search returns on request: one hit a document, neighbours, sections, several questions; and how that looks."""

from __future__ import annotations

import asyncio
import json
import pickle
import unicodedata
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from prefect_ollama import Corpus, Filter, Found
from prefect_ollama.blocks.documents import Chunk, EmbeddedDocument, Hit, Place, Region
from prefect_ollama.blocks.documents import found as _found
from prefect_ollama.blocks.errors import ConfigurationError, TextError
from prefect_ollama.blocks.lance import Store, StoreSpec
from prefect_ollama.commands import app
from tests.corpus_samples import identity_of, write_table
from tests.flow_samples import QUERY_PREFIX
from tests.nodes import nodes, text_hash
from tests.store_samples import DIMENSION, IDENTITY, document, vector_of

SECTIONS = [
    ("One", "tide begins"),
    ("One > Inner", "tide within"),
    ("One > Inner", "tide within again"),
    ("One", "tide after"),
    ("Two", "tide apart"),
    ("One", "tide of another section of that name"),
]


def sectioned(name: str) -> EmbeddedDocument:
    chunks = [
        Chunk(
            f"{text} in {name}",
            place,
            place + 1,
            place + 1,
            heading,
            (Region(place + 1, 1, 2, 3, 4),),
            3,
            f"Title: {text} in {name}",
            f"F-{place}",
            f"F-{place}",
        )
        for place, (heading, text) in enumerate(SECTIONS)
    ]
    vectors = np.array([vector_of(each.text) for each in chunks], np.float32)
    return EmbeddedDocument(document(name), chunks, vectors)


@pytest.fixture(scope="module")
def spec(tmp_path_factory: pytest.TempPathFactory) -> StoreSpec:
    place = StoreSpec(str(tmp_path_factory.mktemp("db")), "documents")
    store = Store.open(place, identity=IDENTITY, create=True)
    store.begin_run("one", "papers")
    store.write([sectioned(f"{name}.pdf") for name in "abc"])
    store.end_run()
    return place


@pytest.fixture
def corpus(spec: StoreSpec) -> Iterator[Corpus]:
    with Corpus(spec) as opened:
        yield opened


def test_one_hit_a_document_and_as_many_as_asked_for(corpus: Corpus) -> None:
    assert len(corpus.search("tide", mode="text", limit=10)) == 10
    found = corpus.search("tide", mode="text", limit=10, one_per_document=True)
    assert sorted(hit.path for hit in found) == ["a.pdf", "b.pdf", "c.pdf"]
    best = corpus.search("tide within again", mode="text", limit=2, one_per_document=True)
    assert [hit.text.partition(" in ")[0] for hit in best] == ["tide within again"] * 2


def test_one_hit_a_document_where_the_best_are_all_of_one(tmp_path: Path) -> None:
    spec = StoreSpec(str(tmp_path / "db"), "documents")
    store = Store.open(spec, identity=IDENTITY, create=True)
    store.begin_run("one", "papers")
    near, far = vector_of("question"), vector_of("other")
    many = [Chunk(f"near {place}", place, 1, 1) for place in range(200)]
    store.write(
        [
            EmbeddedDocument(document("many.pdf"), many, np.stack([near] * 200)),
            EmbeddedDocument(document("one.pdf"), [Chunk("far", 0, 1, 1)], far.reshape(1, DIMENSION)),
        ]
    )
    store.end_run()
    hits = Store.open(spec).search(near, limit=2, one_per_document=True)
    assert [hit.path for hit in hits] == ["many.pdf", "one.pdf"]


def test_neighbours_come_in_reading_order(corpus: Corpus) -> None:
    (hit,) = corpus.search("apart", mode="text", limit=1, around=1, only=Filter(documents=("b.pdf",)))
    assert [each.position for each in hit.around] == [3, 4, 5]
    assert hit.around[1].text == hit.text
    assert hit.around[0].regions == (Region(4, 1, 2, 3, 4),)
    (first,) = corpus.search("begins", mode="text", limit=1, around=2, only=Filter(documents=("b.pdf",)))
    assert [each.position for each in first.around] == [0, 1, 2]
    with pytest.raises(ConfigurationError, match="-1 passages"):
        corpus.search("apart", mode="text", around=-1)


@pytest.mark.parametrize(
    ("word", "positions"), [("begins", [0, 1, 2, 3]), ("again", [1, 2]), ("apart", [4]), ("another", [5])]
)
def test_a_section_is_what_stands_together_under_a_heading(
    corpus: Corpus, word: str, positions: list[int]
) -> None:
    (hit,) = corpus.search(word, mode="text", limit=1, around="section", only=Filter(documents=("a.pdf",)))
    assert [each.position for each in hit.around] == positions


def test_a_hit_says_title_printed_page_and_what_was_embedded(corpus: Corpus) -> None:
    (hit,) = corpus.search("apart", mode="text", limit=1, only=Filter(documents=("a.pdf",)))
    assert (hit.title, hit.page_label_from, hit.embedded_text) == (
        "On a.pdf",
        "F-4",
        "Title: tide apart in a.pdf",
    )
    assert (hit.vector_score, hit.text_score) == (None, hit.score)


def test_several_questions_are_embedded_together_and_one_that_fails_stops_none(tmp_path: Path) -> None:
    with nodes({"context_length": 512}) as (node,):
        spec = write_table(
            tmp_path / "db", identity_of(node), {"a.pdf": ["tide", "moon"], "b.pdf": ["chain"]}
        )
        with Corpus(spec, node.url) as corpus:
            corpus.search("warm")
            node.reset()
            one, failed, other = corpus.search_all(["tide", "long " * 3000, "chain"], limit=1)
            assert [one.question, other.question] == ["tide", "chain"]
            assert len(one) == len(other) == 1
            assert failed == []
            assert isinstance(failed.error, TextError)
            assert node.stats()["paths"]["/api/embed"] < 20
            assert asyncio.run(corpus.asearch_all(["tide", "chain"], limit=1)) == [one, other]
            with pytest.raises(TextError):
                corpus.search("long " * 3000)
            node.reset()
            corpus.search_all([f"question {number}" for number in range(8)], limit=1)
            assert node.stats()["paths"]["/api/embed"] < 8


def test_composed_and_decomposed_letters_are_one_question(tmp_path: Path) -> None:
    with nodes({}) as (node,):
        spec = write_table(tmp_path / "db", identity_of(node), {"a.pdf": ["Café au lait"]})
        with Corpus(spec, node.url) as corpus:
            for form in ("NFC", "NFD"):
                corpus.search(unicodedata.normalize(form, "  Café  "), mode="vector")
            served = node.stats()["served"]
        assert served[text_hash(f"{QUERY_PREFIX}Café")] == 2
        with Corpus(spec) as corpus:
            for question in ("CAFÉ", unicodedata.normalize("NFD", "café")):
                assert len(corpus.search(question, mode="text")) == 1
            with pytest.raises(ConfigurationError, match="question is empty"):
                corpus.search("  \n ", mode="text")


def test_what_was_found_is_a_list_that_survives_pickling(corpus: Corpus) -> None:
    found = corpus.search("apart", mode="text", around="section")
    copy = pickle.loads(pickle.dumps(Found(found, question="q", notes=["n"], error=TextError("e", text="t"))))
    assert copy == found
    assert (copy.question, copy.notes, str(copy.error)) == ("q", ("n",), str(TextError("e", text="t")))
    assert found.question == "apart"


def run(capsys: pytest.CaptureFixture[str], spec: StoreSpec, *arguments: str) -> tuple[int, str, str]:
    status = app(["search", *arguments, "--uri", spec.uri, "--mode", "text"], result_action="return_value")
    told = capsys.readouterr()
    return status, told.out, told.err


def test_the_command_shows_neighbours_pages_and_scores(
    capsys: pytest.CaptureFixture[str], spec: StoreSpec
) -> None:
    status, out, _ = run(
        capsys, spec, "apart", "--explain", "--neighbours", "1", "-d", "a.pdf", "--limit", "1"
    )
    assert status == 0
    assert "page 5, printed F-4" in out
    assert "tide after in a.pdf" in out
    assert "by vector not found, by words" in out
    assert "embedded: Title: tide apart in a.pdf" in out
    assert "On a.pdf" in out


def test_the_command_takes_several_questions(
    capsys: pytest.CaptureFixture[str], spec: StoreSpec, tmp_path: Path
) -> None:
    file = tmp_path / "questions.txt"
    file.write_text("apart\n\nxylophone\nbegins\n", encoding="utf-8")
    status, out, _ = run(capsys, spec, "--questions", str(file), "--json", "--per-document")
    answers = json.loads(out)
    assert status == 1  # one found nothing
    assert [each["question"] for each in answers] == ["apart", "xylophone", "begins"]
    assert [len(each["hits"]) for each in answers] == [3, 0, 3]
    status, out, _ = run(capsys, spec, "--questions", str(file))
    assert "xylophone" in out
    assert "Nothing found." in out


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ((), "No question is given"),
        (("x", "--questions", "q.txt"), "are both given"),
        (("--questions", "/nowhere/q.txt"), "cannot be read"),
        (("x", "--neighbours", "1", "--section"), "are both given"),
        (("x", "--pages", "iv"), "names no pages"),
        (("x", "--pages", "9-3"), "no pages from 9 to 3"),
        (("x", "-d", "d.pdf"), "The nearest: "),
        (("x", "--source", "paper"), "The nearest: 'papers'"),
        (("x", "--track", "--section"), "--track records one question"),
    ],
)
def test_the_command_says_what_is_wrong(
    capsys: pytest.CaptureFixture[str], spec: StoreSpec, arguments: tuple[str, ...], told: str
) -> None:
    status, out, error = run(capsys, spec, *arguments)
    assert status == 2
    assert told in error
    assert out == ""


class _Earlier:
    """Pickles as `Found` did when it named a function."""

    def __reduce__(self) -> tuple[Any, ...]:
        return _found._restore, ([], "q", ("n",), None)


def test_a_result_that_an_earlier_version_pickled_can_be_read() -> None:
    found = pickle.loads(pickle.dumps(_Earlier()))
    assert (type(found), list(found), found.question, found.notes) == (Found, [], "q", ("n",))


def test_a_hit_that_an_earlier_version_pickled_can_be_read() -> None:
    hit = Hit("tide", "a.pdf", "/docs", 1, 1, "", 0.5, "d", "c", 0, also_in=(Place("/docs", "b.pdf", 2, 2),))
    earlier = pickle.dumps(hit, 0).replace(b"documents.hit", b"documents.document")
    assert pickle.loads(earlier) == hit
