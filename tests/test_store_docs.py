"""The Python in `docs/table.md` runs as it stands there."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path

from prefect_ollama.blocks.lance import Store, StoreSpec
from tests.store_samples import IDENTITY, embedded, sentences, vector_of

DOCS = Path(__file__).parent.parent / "docs" / "table.md"


def test_the_examples_run(tmp_path: Path) -> None:
    folder = str(tmp_path / "db_docs")
    store = Store.open(StoreSpec(folder), identity=IDENTITY, create=True)
    store.begin_run("first", "papers")
    store.write([embedded("reports/2024/a.pdf", ["harbour tide", *sentences("a", 3)])])
    store.end_run()
    names = {
        "folder": folder,
        "vector": vector_of("harbour tide"),
        "identity": IDENTITY,
        "embedded_documents": [embedded("b.pdf", sentences("b", 2))],
    }
    blocks = re.findall(r"```python\n(.*?)```", DOCS.read_text(encoding="utf-8"), re.DOTALL)
    assert len(blocks) == 5
    for block in blocks:
        if "duckdb" not in block or importlib.util.find_spec("duckdb"):
            exec(block, names)
    assert names["rows"].num_rows == 1
    assert names["near"][0]["text"] == "harbour tide"
    assert names["hits"][0].path == "reports/2024/a.pdf"
    assert [run.run_id for run in store.runs()] == ["first", "2026-11-23 nightly", "undo of 2026-11-23"]
    assert [each.path for each in store.manifest()] == ["reports/2024/a.pdf"]
