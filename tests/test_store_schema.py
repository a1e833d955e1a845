"""A table that an earlier version of this project stored can still be read, searched and written to.

`python -m tests.test_store_schema` stores a table of the present schema version as `tests/data/table-N.zip`.
Do that once for each new version, and never again: the file stands for tables that users have.
"""

from __future__ import annotations

import dataclasses
import tempfile
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from zipfile import ZIP_DEFLATED, ZipFile

import pytest

from prefect_ollama.blocks.documents import FAILED
from prefect_ollama.blocks.errors import TableError
from prefect_ollama.blocks.lance import Store, StoreSpec, maintain
from prefect_ollama.blocks.lance import _schema as schema
from tests.cases import most_slow
from tests.store_samples import (
    IDENTITY,
    chunk_rows,
    document,
    document_rows,
    embedded,
    sentences,
    undoable,
    vector_of,
)

DATA = Path(__file__).parent / "data"


def fill(spec: StoreSpec) -> Store:
    store = Store.open(spec, identity=IDENTITY, create=True)
    store.begin_run("first", "papers")
    store.write([embedded("a.pdf", sentences("a", 4)), embedded("été/b.pdf", ["東京都で学ぶ", "two"])])
    store.record([document("c.pdf", status=FAILED, kind="junk", reason="It is no PDF.")])
    store.end_run(counts={"documents": 3})
    store.begin_run("second", "papers")
    store.write([embedded("a.pdf", sentences("a", 3), content="c1")])
    store.end_run()
    return store


@pytest.fixture(params=most_slow(range(1, schema.VERSION + 1), but=[1]))
def stored(request: pytest.FixtureRequest, tmp_path: Path) -> StoreSpec:
    with ZipFile(DATA / f"table-{request.param}.zip") as archive:
        archive.extractall(tmp_path)
    return StoreSpec(str(tmp_path))


@pytest.mark.parametrize(
    "date",
    [
        datetime(1, 1, 1, tzinfo=timezone(timedelta(hours=14))),
        datetime(9999, 12, 31, 23, tzinfo=timezone(-timedelta(hours=12))),
    ],
)
def test_dates_that_python_does_not_have_leave_a_table_usable(date: datetime, tmp_path: Path) -> None:
    """Earlier versions stored such a date from the metadata of a file, and could read no row of the manifest then."""
    store = Store.open(StoreSpec(str(tmp_path)), identity=IDENTITY, create=True)
    store.begin_run("first", "papers")
    store.write(
        [embedded("a.pdf", sentences("a", 3), created=date, modified=datetime(2020, 1, 1, tzinfo=UTC))]
    )
    store.end_run()
    opened = Store.open(store.spec)
    (row,) = opened.manifest()
    assert (row.created, row.modified, row.chunks) == (None, datetime(2020, 1, 1, tzinfo=UTC), 3)
    # A roll back reads and writes whole rows.
    opened.begin_run("second", "papers")
    opened.remove([row.doc_id])
    opened.end_run()
    opened.roll_back("second", "undo")
    assert [each.path for each in opened.manifest()] == ["a.pdf"]


def test_a_stored_table_is_as_good_as_a_new_one(stored: StoreSpec, tmp_path: Path) -> None:
    store, fresh = Store.open(stored, identity=IDENTITY), fill(StoreSpec(str(tmp_path / "fresh")))
    assert (chunk_rows(store), document_rows(store)) == (chunk_rows(fresh), document_rows(fresh))
    for mine, other in (
        (store._chunks.schema, fresh._chunks.schema),
        (store._manifest.rows().schema, fresh._manifest.rows().schema),
        (store._log._table.schema, fresh._log._table.schema),
    ):
        assert mine.equals(other, check_metadata=True)
    assert store.search(vector_of("two"), limit=1)[0].path == "été/b.pdf"
    assert store.search(text="東京", mode="text")[0].path == "été/b.pdf"
    assert store.runs()[0].counts == {"documents": 3}
    assert undoable(store) == {"first", "second"}

    store.roll_back("second", "undo")
    assert [each.chunks for each in store.manifest() if each.path == "a.pdf"] == [4]
    store.begin_run("third", "papers")
    store.write([embedded("a.pdf", sentences("a", 3), content="c1")])
    store.end_run()
    maintain(store.spec, force=True)
    assert (chunk_rows(store), document_rows(store)) == (chunk_rows(fresh), document_rows(fresh))


def test_a_table_of_a_later_version_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spec = StoreSpec(str(tmp_path))
    monkeypatch.setattr(schema, "VERSION", schema.VERSION + 1)
    Store.open(spec, identity=dataclasses.replace(IDENTITY), create=True)
    monkeypatch.undo()
    for create in (False, True):
        with pytest.raises(TableError, match=f"schema version {schema.VERSION + 1}.*Upgrade"):
            Store.open(spec, identity=IDENTITY, create=create)


def main() -> None:
    target = DATA / f"table-{schema.VERSION}.zip"
    with tempfile.TemporaryDirectory() as folder:
        fill(StoreSpec(folder))
        with ZipFile(target, "x", ZIP_DEFLATED) as archive:
            for path in sorted(Path(folder).rglob("*")):
                if path.is_file() and not path.name.startswith("."):
                    archive.write(path, path.relative_to(folder))
    print(f"{target}: {target.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
