"""One ingest with one node of each kind: real PDFs, real Dask processes, a real table, a real Prefect server."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from prefect.settings import PREFECT_HOME, temporary_settings
from pydantic import SecretStr

from prefect_ollama.blocks import LanceTable, OllamaCluster, OpenAICompatibleNode
from prefect_ollama.flows import check_nodes, ingest_pdfs, search
from prefect_ollama.flows.runner.task_runner import IngestTaskRunner
from tests.flow_samples import MODEL, assert_right, chunks, prose, write_folder
from tests.nodes import nodes
from tests.nodes.openai import OpenAIServer

pytestmark = [pytest.mark.usefixtures("prefect_server", "all_nodes_take_part"), pytest.mark.slow]

KEY = "sk-" + "k3y" * 10


@pytest.fixture(autouse=True)
def home(tmp_path: Path) -> Iterator[None]:
    """A Prefect home of the test's own: its cache of vectors is empty."""
    with temporary_settings(updates={PREFECT_HOME: tmp_path / "home"}):
        yield


def test_a_table_is_made_by_nodes_of_both_kinds(dask_workers: str, tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "papers", [f"doc{n}" for n in range(8)], pages=4, words=300)
    with (
        nodes({"texts_per_second": 40}) as (ollama,),
        OpenAIServer(
            "vLLM", dimension=768, context=2048, model="nomic-ai/nomic", key=KEY, seconds_a_text=0.02
        ) as vllm,
    ):
        block = OpenAICompatibleNode(url=vllm.url, api_key=SecretStr(KEY), model="nomic-ai/nomic")
        block.save("vllm-box", overwrite=True)
        cluster = OllamaCluster(nodes=[ollama.url, "vllm-box"], model=MODEL)
        table = LanceTable(uri=str(tmp_path / "db"))
        flow = ingest_pdfs.with_options(task_runner=IngestTaskRunner(address=dask_workers))
        report = flow(str(folder), cluster, table)
        assert report.ok
        assert_right(chunks(tmp_path / "db"))
        assert {node.name: node.texts > 0 for node in report.nodes} == {
            ollama.url.removeprefix("http://"): True,
            "vllm-box": True,
        }
        assert KEY not in repr(report)

        # Either kind alone goes on with the table, and finds the passage.
        for alone in ("openai-compatible-node/vllm-box", ollama.url):
            write_folder(folder, [f"more-{alone[:4]}"], pages=1)
            assert flow(str(folder), OllamaCluster(nodes=[alone], model=MODEL), table).ok
            hits = search(prose("doc3 page 2", 300)[:60], OllamaCluster(nodes=[alone], model=MODEL), table)
            assert "doc3.pdf" in {hit.path for hit in hits}
        assert_right(chunks(tmp_path / "db"))

        rows = check_nodes(cluster)
        assert [row.ok for row in rows] == [True, True]
        assert {row.version for row in rows} == {"0.33.0", "vLLM 0.9.1"}
