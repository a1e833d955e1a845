"""The store: what is written is there, whole, once, and comes back as it was."""

from __future__ import annotations

import dataclasses
import pickle
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
from pydantic import SecretStr

from prefect_ollama.blocks.documents import FAILED, STALE, STORED, EmbeddedDocument, Identity
from prefect_ollama.blocks.errors import ConfigurationError, TableError
from prefect_ollama.blocks.lance import Store, StoreSpec, text_hash
from prefect_ollama.blocks.lance.filters import equals, glob
from tests.store_samples import (
    DIMENSION,
    IDENTITY,
    chunk_rows,
    document,
    document_rows,
    embedded,
    sentences,
    vector_of,
)


@pytest.fixture
def spec(tmp_path: Path) -> StoreSpec:
    return StoreSpec(str(tmp_path / "db_x"))


@pytest.fixture
def store(spec: StoreSpec) -> Store:
    opened = Store.open(spec, identity=IDENTITY, create=True)
    opened.begin_run("r1", "papers")
    return opened


def test_a_document_comes_back_as_it_was(store: Store, spec: StoreSpec) -> None:
    created = datetime(2020, 2, 3, 4, 5, 6, 7, tzinfo=UTC)
    given = embedded("a.pdf", sentences("a", 5), created=created, author="Ö", node_seconds=1.5)
    store.write([given])
    store.end_run(counts={"chunks": 5})

    (found,) = Store.open(spec).manifest()
    assert found == dataclasses.replace(
        given.document, chunks=5, tokens=20, run_id="r1", updated_at=found.updated_at
    )
    rows = sorted(chunk_rows(store), key=lambda row: row["position"])
    for row, chunk, vector in zip(rows, given.chunks, given.vectors, strict=True):
        assert {name: row[name] for name in ("text", "heading", "page_from", "page_to", "tokens")} == {
            "text": chunk.text,
            "heading": chunk.heading,
            "page_from": chunk.page_from,
            "page_to": chunk.page_to,
            "tokens": chunk.tokens,
        }
        assert row["regions"] == [dataclasses.asdict(region) for region in chunk.regions]
        assert np.array_equal(np.array(row["vector"], np.float32), vector)
        assert (row["model"], row["digest"], row["chunker"]) == ("all-minilm", "sha256:1", "1 target=200")
        assert row["content_hash"] == "c0"


def test_writing_again_changes_nothing(store: Store) -> None:
    batch = [embedded(f"{n}.pdf", sentences(str(n), n)) for n in range(6)]
    store.write(batch)
    once = chunk_rows(store), document_rows(store)
    store.write(batch)
    assert (chunk_rows(store), document_rows(store)) == once
    assert len(once[0]) == 15
    assert [row["chunks"] for row in once[1] if row["path"] == "0.pdf"] == [0]


@pytest.mark.parametrize("after", [2, 5, 9, 0])
@pytest.mark.sampled(2)
def test_a_changed_document_takes_the_place_of_the_old_one(store: Store, after: int) -> None:
    store.write([embedded("a.pdf", sentences("a", 5)), embedded("b.pdf", sentences("b", 3))])
    changed = embedded("a.pdf", ["a says thing 1", *sentences("new", after)][: after or 0], content="c1")
    store.write([changed])
    rows = [row for row in chunk_rows(store) if row["path"] == "a.pdf"]
    assert sorted(row["text"] for row in rows) == sorted(chunk.text for chunk in changed.chunks)
    assert {row["content_hash"] for row in rows} <= {"c1"}
    assert len([row for row in chunk_rows(store) if row["path"] == "b.pdf"]) == 3
    assert len(chunk_rows(store)) == after + 3


def test_an_edit_elsewhere_keeps_a_chunks_id(store: Store) -> None:
    store.write([embedded("a.pdf", ["one", "two", "two", "three"])])
    before = {row["text"]: row["id"] for row in chunk_rows(store) if row["text"] != "two"}
    store.write([embedded("a.pdf", ["zero", "one", "two", "three"], content="c1")])
    after = {row["text"]: row["id"] for row in chunk_rows(store)}
    assert {text: after[text] for text in before} == before


def test_vectors_are_reused_by_text(store: Store) -> None:
    given = embedded("a.pdf", sentences("a", 4))
    store.write([given, embedded("b.pdf", sentences("b", 2))])
    vectors = store.vectors_for([given.document.doc_id])
    assert set(vectors) == {text_hash(chunk.text) for chunk in given.chunks}
    for chunk, vector in zip(given.chunks, given.vectors, strict=True):
        assert np.array_equal(vectors[text_hash(chunk.text)], vector)


def _bad(change: str) -> list[EmbeddedDocument]:
    good, bad = embedded("good.pdf", sentences("g", 2)), embedded("bad.pdf", sentences("b", 3))
    vectors = bad.vectors.copy()
    if change in ("nan", "inf", "zero"):
        vectors[1] = {"nan": np.nan, "inf": np.inf, "zero": 0}[change]
    elif change == "dimension":
        vectors = vectors[:, :-1]
    elif change == "count":
        vectors = vectors[:-1]
    elif change == "type":
        vectors = vectors.astype(np.float64)
    elif change == "positions":
        return [good, dataclasses.replace(bad, chunks=list(bad.chunks)[::-1])]
    elif change == "twice":
        return [good, good]
    elif change == "status":
        return [good, dataclasses.replace(bad, document=dataclasses.replace(bad.document, status=FAILED))]
    elif change == "source":
        return [good, embedded("bad.pdf", sentences("b", 3), source="other")]
    return [good, dataclasses.replace(bad, vectors=vectors)]


@pytest.mark.parametrize(
    "change",
    ["nan", "inf", "zero", "dimension", "count", "type", "positions", "twice", "status", "source"],
)
@pytest.mark.sampled(4)
def test_a_bad_document_is_refused_before_anything_is_written(store: Store, change: str) -> None:
    with pytest.raises(TableError) as raised:
        store.write(_bad(change))
    assert "good" in str(raised.value) if change == "twice" else "bad" in str(raised.value)
    assert chunk_rows(store) == []
    assert document_rows(store) == []
    restored = pickle.loads(pickle.dumps(raised.value))
    assert str(restored) == str(raised.value)


def test_failed_documents_are_recorded_and_replaced(store: Store) -> None:
    failed = document(
        "a.pdf", status=FAILED, kind="encrypted", reason="It wants a password.", remedy="Give it."
    )
    store.record([failed])
    (found,) = store.manifest("papers")
    assert (found.status, found.kind, found.reason, found.chunks) == (FAILED, "encrypted", failed.reason, 0)
    store.write([embedded("a.pdf", ["now read"])])
    (found,) = store.manifest("papers")
    assert (found.status, found.kind, found.chunks) == (STORED, "", 1)
    assert store.manifest("other") == []


def test_removed_documents_leave_nothing(store: Store) -> None:
    batch = [embedded(f"{n}.pdf", sentences(str(n), 3)) for n in range(4)]
    store.write(batch)
    store.remove([batch[0].document.doc_id, batch[2].document.doc_id])
    assert {row["path"] for row in chunk_rows(store)} == {"1.pdf", "3.pdf"}
    assert {each.path for each in store.manifest()} == {"1.pdf", "3.pdf"}


def test_a_renamed_document_keeps_its_vectors(store: Store, tmp_path: Path) -> None:
    texts = ["same", "same", *sentences("a", 3)]
    batch = [embedded("a.pdf", texts), embedded("b.pdf", sentences("b", 2)), embedded("empty.pdf", [])]
    store.write(batch)
    moves = {batch[n].document.doc_id: document(f"sub/{n}.pdf") for n in (0, 2)}
    store.move(moves)

    other = Store.open(StoreSpec(str(tmp_path / "other")), identity=IDENTITY, create=True)
    other.begin_run("r1", "papers")
    other.write([embedded("sub/0.pdf", texts), batch[1], embedded("sub/2.pdf", [])])
    assert chunk_rows(store) == chunk_rows(other)
    assert {row["path"] for row in document_rows(store)} == {"sub/0.pdf", "b.pdf", "sub/2.pdf"}


def test_names_swap_places(store: Store) -> None:
    first, second = embedded("a.pdf", sentences("a", 2)), embedded("b.pdf", sentences("b", 3))
    store.write([first, second])
    store.move({first.document.doc_id: document("b.pdf"), second.document.doc_id: document("a.pdf")})
    assert {(row["path"], row["text"][0]) for row in chunk_rows(store)} == {("a.pdf", "b"), ("b.pdf", "a")}
    assert len(chunk_rows(store)) == 5
    assert {(each.path, each.chunks) for each in store.manifest()} == {("a.pdf", 3), ("b.pdf", 2)}


HOSTILE = [
    "it's.pdf",
    "a\nb.pdf",
    "' OR 1=1 --",
    'dou"ble.pdf',
    "日本語/été.pdf",
    "back\\slash",
    "50%_*[x].pdf",
]


@pytest.mark.slow
def test_hostile_names_are_safe_in_filters(spec: StoreSpec) -> None:
    store = Store.open(spec, identity=IDENTITY, create=True)
    for number, source in enumerate(HOSTILE):
        store.begin_run(f"r{number}", source)
        store.write([embedded(name, [f"{name} text"], source=source) for name in HOSTILE])
        store.end_run()
    for name in HOSTILE:
        assert sorted(each.path for each in store.manifest(name)) == sorted(HOSTILE)
        question = vector_of(f"{name} text")
        hits = store.search(question, source=name, where=equals("path", name), limit=9)
        assert [(hit.source, hit.path) for hit in hits] == [(name, name)]
        literal = store.search(question, where=glob("path", name.replace("*", "?")), limit=99)
        assert {hit.path for hit in literal} == {name}


def test_a_name_that_is_not_utf8_can_be_stored(store: Store) -> None:
    store.write([embedded("caf\udce9.pdf", ["text"], title="bad \ud800 title")])
    (found,) = store.manifest()
    assert (found.path, found.title) == ("caf\\udce9.pdf", "bad \\ud800 title")


def test_glob_knows_folders(store: Store) -> None:
    names = ["a.pdf", "x/a.pdf", "x/y/a.pdf", "x/y/b.txt"]
    store.write([embedded(name, [name]) for name in names])

    def found(pattern: str) -> set[str]:
        return {hit.path for hit in store.search(vector_of("q"), where=glob("path", pattern), limit=9)}

    assert found("*.pdf") == {"a.pdf"}
    assert found("**/*.pdf") == {"a.pdf", "x/a.pdf", "x/y/a.pdf"}
    assert found("x/**") == {"x/a.pdf", "x/y/a.pdf", "x/y/b.txt"}
    assert found("x/?/b.txt") == {"x/y/b.txt"}


@pytest.mark.parametrize("mode", ["vector", "hybrid"])
def test_the_nearest_chunk_comes_first(store: Store, mode: str) -> None:
    store.write([embedded(f"{n}.pdf", sentences(f"doc{n}", 20)) for n in range(5)])
    text = "doc3 says thing 7"
    hits = store.search(vector_of(text), text=text, limit=3, mode=mode)  # type: ignore[arg-type]
    assert len(hits) == 3
    assert (hits[0].text, hits[0].path, hits[0].page_from, hits[0].heading) == (text, "3.pdf", 8, "Part 7")
    assert len(hits[0].regions) == 1
    assert hits[0].score >= hits[1].score >= hits[2].score
    if mode == "vector":
        assert hits[0].score == pytest.approx(1.0, abs=1e-5)


def test_words_are_found_in_many_languages(store: Store) -> None:
    store.write(
        [
            embedded(
                "a.pdf", ["The running hare", "東京都で機械学習を学ぶ", "ภาษาไทยง่ายมาก", "Größe der Bäume"]
            ),
        ]
    )
    for word, expected in [
        ("run", "hare"),
        ("機械", "機械"),
        ("ภาษา", "ภาษา"),
        ("bäume", "Bäume"),
        ("BÄUME", "Bäume"),
    ]:
        hits = store.search(text=word, mode="text")
        assert hits, word
        assert expected in hits[0].text


def test_a_search_says_what_it_lacks(store: Store) -> None:
    with pytest.raises(ConfigurationError, match="vector"):
        store.search(mode="vector")
    with pytest.raises(ConfigurationError, match="words"):
        store.search(vector_of("x"), text="  ", mode="hybrid")
    with pytest.raises(ConfigurationError, match="1 to 1,000,000"):
        store.search(vector_of("x"), limit=0)
    with pytest.raises(TableError, match="filter"):
        store.search(vector_of("x"), where="no such column = 3")
    assert store.search(vector_of("x")) == []


def test_a_reader_goes_on_reading_while_others_write(store: Store, spec: StoreSpec) -> None:
    store.write([embedded("a.pdf", sentences("a", 3))])
    reader = Store.open(spec)
    assert len(reader.search(vector_of("x"), limit=9)) == 3
    store.write([embedded("a.pdf", sentences("new", 2), content="c1"), embedded("b.pdf", ["b"])])
    assert len(reader.search(vector_of("x"), limit=9)) == 3
    assert len(reader.manifest()) == 2


def test_another_identity_is_refused(store: Store, spec: StoreSpec) -> None:
    changed = {
        "digest": "sha256:2",
        "dimension": 9,
        "document_prefix": "",
        "query_prefix": "q: ",
        "options": (("num_ctx", "512"),),
        "chunker": "2",
    }
    for name, value in changed.items():
        with pytest.raises(TableError) as raised:
            Store.open(spec, identity=dataclasses.replace(IDENTITY, **{name: value}), create=True)
        assert name in str(raised.value)
        assert "another table" in raised.value.remedy
    renamed = Store.open(spec, identity=dataclasses.replace(IDENTITY, model="all-minilm:latest"))
    assert renamed.identity == IDENTITY
    assert Identity.from_json(IDENTITY.to_json()) == IDENTITY


def test_a_missing_table_is_named(tmp_path: Path) -> None:
    with pytest.raises(TableError, match="no table 'x'"):
        Store.open(StoreSpec(str(tmp_path), "x"))
    # As a report names it, and so without the suffix of its folder.
    (tmp_path / "papers.lance").mkdir()
    with pytest.raises(TableError, match="no table") as raised:
        Store.open(StoreSpec(str(tmp_path / "papers"), "documents"))
    assert f"A table is in {str(tmp_path / 'papers.lance')!r}. Name that" in raised.value.remedy


def test_a_foreign_table_is_refused(tmp_path: Path) -> None:
    import lancedb

    connection = lancedb.connect(tmp_path)
    for name in ("x", "x__documents", "x__runs"):
        connection.create_table(name, data=[{"a": 1}])
    with pytest.raises(TableError, match="not made by"):
        Store.open(StoreSpec(str(tmp_path), "x"), identity=IDENTITY, create=True)


def test_writing_needs_a_run(spec: StoreSpec) -> None:
    store = Store.open(spec, identity=IDENTITY, create=True)
    for action in (
        lambda: store.write([embedded("a.pdf", ["a"])]),
        lambda: store.record([document("a.pdf")]),
        lambda: store.remove(["x"]),
        lambda: store.move({"x": document("a.pdf")}),
        store.end_run,
    ):
        with pytest.raises(TableError, match="No run is open"):
            action()


def test_an_interrupted_write_is_found_by_the_next_run(
    store: Store, spec: StoreSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed between the two commits: chunks new, manifest old or missing."""
    store.write([embedded(f"{n}.pdf", sentences(str(n), 3)) for n in "abcd"])
    monkeypatch.setattr(store._manifest, "put", lambda documents: None)
    store.write([embedded("a.pdf", sentences("changed", 2), content="c1"), embedded("new.pdf", ["new"])])
    monkeypatch.undo()
    store._chunks.table.delete("path = 'c.pdf'")
    store._log.put(dataclasses.replace(store.runs()[0], pid=2**22 + 1))

    following = Store.open(spec, identity=IDENTITY)
    following.begin_run("r2", "papers")
    assert {each.path: each.status for each in following.manifest("papers")} == {
        "a.pdf": STALE,
        "b.pdf": STORED,
        "c.pdf": STALE,
        "d.pdf": STORED,
        "new.pdf": STALE,
    }
    assert [run.status for run in following.runs()] == ["interrupted", "running"]
    assert following.reconcile() == []


def test_a_full_disk_leaves_the_table_as_it_was(store: Store) -> None:
    resource = pytest.importorskip("resource")
    store.write([embedded("a.pdf", sentences("a", 3))])
    before = chunk_rows(store), document_rows(store)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, hard))
    try:
        with pytest.raises(TableError, match="free space"):
            store.write([embedded("a.pdf", sentences("b", 3000), content="c1")])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert (chunk_rows(store), document_rows(store)) == before
    store.write([embedded("a.pdf", sentences("b", 3000), content="c1")])
    assert len(chunk_rows(store)) == 3000


def test_a_sample_comes_from_all_over_the_table(store: Store) -> None:
    assert store.sample(3) == []
    store.write([embedded(f"{n}.pdf", sentences(str(n), 10)) for n in range(3)])
    found = store.sample(3)
    assert [text[0] for text, _ in found] == ["0", "1", "2"]
    for text, vector in found:
        assert np.array_equal(vector, vector_of(text))
    assert len(store.sample(99)) == 30


def test_a_spec_hides_secrets_and_makes_paths_absolute(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    spec = StoreSpec("db_x", storage_options=(("aws_secret_access_key", SecretStr("hush")),))
    assert spec.uri == str(tmp_path / "db_x")
    assert "hush" not in repr(spec)
    assert "hush" not in str(spec)
    assert StoreSpec("s3://bucket/x").uri == "s3://bucket/x"
    for table in ("", "a/b", "a__b", "-a", "été"):
        with pytest.raises(ConfigurationError):
            StoreSpec("x", table)


def test_dimension_of_the_samples() -> None:
    assert vector_of("x").shape == (DIMENSION,)
