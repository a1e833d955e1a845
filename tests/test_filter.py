"""Which passages a search may find: names, days, pages and metadata, whatever characters they hold."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator
from datetime import UTC, date, datetime
from functools import partial
from pathlib import Path

import pytest

from prefect_ollama import Corpus, Filter
from prefect_ollama.blocks.documents import Document
from prefect_ollama.blocks.errors import ConfigurationError
from prefect_ollama.blocks.lance import Store, StoreSpec
from prefect_ollama.tasks.planning import documents_named
from prefect_ollama.tasks.searching.filter import nearest_names
from tests.store_samples import IDENTITY, document, embedded

HOSTILE = (
    "it's.pdf",
    'say "hello".pdf',
    "100%_sure.pdf",
    "back\\slash.pdf",
    "two\nlines.pdf",
    "'; DROP TABLE documents; --.pdf",
    "x') OR ('1'='1.pdf",
    "[a-z]*?.pdf",
    "日本語.pdf",
)


def day(year: int) -> datetime:
    return datetime(year, 5, 17, 12, tzinfo=UTC)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Corpus]:
    spec = StoreSpec(str(tmp_path_factory.mktemp("db")), "documents")
    store = Store.open(spec, identity=IDENTITY, create=True)
    store.begin_run("one", "/data/papers")
    source = "/data/papers"
    tides = {"title": "Ocean Tides", "author": "Ada Weiß", "created": day(2001)}
    gears = {"author": "Bob", "source": source}
    store.write(
        [
            embedded("tides.pdf", ["tide one", "tide two", "tide three"], source, **tides),
            embedded("reports/2019/gears.pdf", ["tide gears"], title="Gears", modified=day(2019), **gears),
            embedded(
                "reports/2020/gears.pdf", ["tide cogs"], title="Gears again", modified=day(2020), **gears
            ),
            *(embedded(name, [f"tide of {number}"], source) for number, name in enumerate(HOSTILE)),
        ]
    )
    failed = {"status": "failed", "reason": "It is encrypted.", "remedy": "Give the password."}
    store.record([document("scan.pdf", source, **failed)])
    store.end_run()
    store.begin_run("two", "other's source")
    store.write([embedded("tides.pdf", ["tide elsewhere"], "other's source")])
    store.end_run()
    with Corpus(spec, "http://127.0.0.1:9") as opened:
        yield opened


def paths(corpus: Corpus, only: Filter) -> set[str]:
    return {hit.path for hit in corpus.search("tide", mode="text", limit=50, only=only)}


@pytest.mark.parametrize("name", HOSTILE)
@pytest.mark.sampled(3)
def test_a_name_may_hold_anything(corpus: Corpus, name: str) -> None:
    assert paths(corpus, Filter(documents=(name,))) == {name}
    with pytest.raises(ConfigurationError, match="no source"):
        paths(corpus, Filter(source=name))
    assert paths(corpus, Filter(title=name)) == {name}  # the samples' titles hold their names
    with pytest.raises(ConfigurationError, match="no author"):
        paths(corpus, Filter(author=name))


@pytest.mark.parametrize("name", ["\ud800", "a\udfffb", "\0"])
def test_a_name_that_no_file_can_have_is_no_document(corpus: Corpus, name: str) -> None:
    with pytest.raises(ConfigurationError, match="no document"):
        paths(corpus, Filter(documents=(name,)))


@pytest.mark.parametrize("limit", [-1, 0, 2**40])
def test_a_limit_has_bounds(corpus: Corpus, limit: int) -> None:
    with pytest.raises(ConfigurationError, match="Ask for 1 to 1,000,000"):
        corpus.search("tide", mode="text", limit=limit)


def test_sources_are_told_apart(corpus: Corpus) -> None:
    assert paths(corpus, Filter(source="other's source")) == {"tides.pdf"}
    assert len(paths(corpus, Filter(source="/data/papers/"))) == 3 + len(HOSTILE)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("gears.pdf", {"reports/2019/gears.pdf", "reports/2020/gears.pdf"}),
        ("reports/2019/gears.pdf", {"reports/2019/gears.pdf"}),
        ("/data/papers/reports/2019/gears.pdf", {"reports/2019/gears.pdf"}),
        ("reports", {"reports/2019/gears.pdf", "reports/2020/gears.pdf"}),
        ("reports/2020/", {"reports/2020/gears.pdf"}),
        ("**/2019/*.pdf", {"reports/2019/gears.pdf"}),
    ],
)
def test_documents_are_named_by_path_file_folder_or_pattern(
    corpus: Corpus, name: str, expected: set[str]
) -> None:
    assert paths(corpus, Filter(documents=(name,))) == expected


def test_a_name_is_found_with_its_letters_composed_or_not() -> None:
    stored = [
        document(
            unicodedata.normalize("NFD", "Übung/Amélie.pdf"), unicodedata.normalize("NFD", "/data/Père")
        ),
        document("Übung/Zoë.pdf", "/data/Père"),
    ]
    for form in ("NFC", "NFD"):
        as_typed = partial(unicodedata.normalize, form)
        for names, count in (
            (("Amélie.pdf", "Zoë.pdf"), 2),
            (("Übung/Amélie.pdf",), 1),
            (("/data/Père/Übung/Zoë.pdf",), 1),
            (("**/Am*é*.pdf",), 1),
            (("/data/Père/Übung/Amélie.pdf", "/data/Père/Übung/Zoë.pdf"), 2),
        ):
            assert len(Filter(documents=tuple(map(as_typed, names))).documents_of(stored)) == count
        assert len(documents_named([as_typed("/data/Père")], stored)) == 1  # a source in this very spelling
    assert len(documents_named(["Übung"], stored[:1], source="/data/Père")) == 1


def test_several_names_add_up_and_several_kinds_narrow(corpus: Corpus) -> None:
    both = Filter(documents=("reports/2019", "it's.pdf"))
    assert paths(corpus, both) == {"reports/2019/gears.pdf", "it's.pdf"}
    assert paths(corpus, Filter(documents=("gears.pdf",), since=date(2020, 1, 1))) == {
        "reports/2020/gears.pdf"
    }


def test_days_are_those_of_metadata_else_of_the_file(corpus: Corpus) -> None:
    assert paths(corpus, Filter(since=date(2019, 5, 17), until=date(2019, 5, 17))) == {
        "reports/2019/gears.pdf"
    }
    assert "it's.pdf" in paths(corpus, Filter(until=date(1970, 1, 1)))  # its file's time is 20 ns after 1970
    assert paths(corpus, Filter(since=date(2001, 5, 17))) == {
        "tides.pdf",
        "reports/2019/gears.pdf",
        "reports/2020/gears.pdf",
    }
    until = datetime(2019, 5, 17, 12, tzinfo=UTC)
    assert paths(corpus, Filter(since=date(2019, 5, 17), until=until)) == {"reports/2019/gears.pdf"}
    with pytest.raises(ConfigurationError, match="dated from 2030-01-01 on") as caught:
        paths(corpus, Filter(since=date(2030, 1, 1)))
    assert "1970-01-01 to 2020-05-17" in caught.value.remedy


def test_pages_overlap(corpus: Corpus) -> None:
    only = Filter(source="/data/papers", documents=("tides.pdf",), pages=(2, 3))
    hits = corpus.search("tide", mode="text", limit=50, only=only)
    assert {hit.page_from for hit in hits} == {2, 3}
    assert corpus.search("tide", mode="text", only=Filter(pages=(99, 100))) == []
    assert corpus.search("tide", mode="text", only=Filter(pages=(2**40, 2**64))) == []


def test_metadata_is_compared_in_any_spelling(corpus: Corpus) -> None:
    assert paths(corpus, Filter(author="ADA WEISS")) == {"tides.pdf"}
    assert paths(corpus, Filter(title="gears")) == {"reports/2019/gears.pdf", "reports/2020/gears.pdf"}


def test_the_nearest_names_are_suggested(corpus: Corpus) -> None:
    for only, nearest in (
        (Filter(documents=("tide.pdf",)), "'tides.pdf'"),
        (Filter(documents=("report",)), "'reports'"),
        (Filter(documents=("GAERS.PDF",)), "'gears.pdf'"),
        (Filter(source="/data/paper"), "'/data/papers'"),
        (Filter(title="Ocaen Tides"), "'Ocean Tides'"),
        (Filter(author="bobb"), "'Bob'"),
    ):
        with pytest.raises(ConfigurationError) as caught:
            paths(corpus, only)
        assert nearest in caught.value.remedy
        assert caught.value.state == "Nothing was done.", "`documents` and `summarize` do not search"
    with pytest.raises(ConfigurationError, match="no document") as caught:
        paths(corpus, Filter(documents=("qqqqqqqq",)))
    assert "prefect-ollama documents" in caught.value.remedy


def test_a_document_that_was_not_read_says_why(corpus: Corpus) -> None:
    with pytest.raises(ConfigurationError, match="no passages in the table: It is encrypted") as caught:
        paths(corpus, Filter(documents=("scan.pdf",)))
    assert caught.value.remedy == "Give the password."


@pytest.mark.parametrize("pages", [(0, 1), (3, 2)])
def test_pages_and_days_are_the_right_way_round(pages: tuple[int, int]) -> None:
    with pytest.raises(ConfigurationError, match="no pages"):
        Filter(pages=pages)
    with pytest.raises(ConfigurationError, match="No day"):
        Filter(since=date(2020, 1, 2), until=date(2020, 1, 1))


def test_a_filter_of_nothing_asks_the_manifest_for_nothing() -> None:
    def never() -> list[Document]:
        raise AssertionError

    assert Filter().condition(never) == ""
    assert Filter(pages=(1, 2)).condition(never) == "(page_to >= 1 AND page_from <= 2)"


def test_names_are_near_by_their_letters() -> None:
    assert nearest_names("Größe", ["other", "GRÖSSE", "grösser.pdf"]) == ["GRÖSSE", "grösser.pdf"]
    assert nearest_names("x", []) == []


def test_a_path_of_this_host_is_found_below_its_source(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = StoreSpec(str(tmp_path / "db"), "documents")
    store = Store.open(spec, identity=IDENTITY, create=True)
    papers = tmp_path / "papers"
    store.begin_run("one", str(papers))
    store.write([embedded("a.pdf", ["tide"], str(papers))])
    store.end_run()
    monkeypatch.chdir(tmp_path)
    with Corpus(spec) as corpus:
        for name in ("papers/a.pdf", "./papers", str(papers / "a.pdf"), "papers"):
            assert paths(corpus, Filter(documents=(name,))) == {"a.pdf"}
        assert paths(corpus, Filter(source="papers")) == {"a.pdf"}
