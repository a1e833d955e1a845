"""The state in which Prefect shows an ingest that ended, and the report in a notebook."""

from __future__ import annotations

from html.parser import HTMLParser
from pathlib import Path

import pytest
from prefect.client.orchestration import get_client

from prefect_ollama.blocks import LanceTable
from prefect_ollama.blocks.errors import DocumentsFailed
from prefect_ollama.flows import Advanced, FileReport, IngestReport, NodeReport, ingest_pdfs
from prefect_ollama.flows.runner.task_runner import IngestTaskRunner
from prefect_ollama.tasks.reporting.ingest_report import MAX_ROWS
from tests.flow_samples import manifest, write_folder
from tests.nodes import nodes


def report(*files: FileReport, dry_run: bool = False, source: str = "/papers") -> IngestReport:
    node = NodeReport("gpu<script>", 9, 0.9, 3.0, 3.0, {"time-out": 2}, "<no answer>")
    return IngestReport(
        "0198", source, "/db/documents", "nomic-embed-text", dry_run, files, pages=4, nodes=(node,)
    )


@pytest.mark.parametrize(
    ("outcomes", "words"),
    [
        (
            ["stored"] * 126 + ["failed"] * 6 + ["partial"] * 2 + ["failed before"],
            "126 stored, 9 need attention",
        ),
        (["unchanged"] * 2 + ["removed", "failed"], "2 unchanged, 1 removed, 1 needs attention"),
        (["stored", "new", "changed"], "1 stored, 2 left to do"),
        ([], "no files"),
    ],
)
def test_a_report_in_a_few_words(outcomes: list[str], words: str) -> None:
    files = (FileReport(f"{n}.pdf", outcome) for n, outcome in enumerate(outcomes))  # type: ignore[arg-type]
    assert report(*files).summary == words


def test_a_dry_run_in_a_few_words() -> None:
    files = (FileReport("a.pdf", "new"), FileReport("b.pdf", "unchanged"))
    assert report(*files, dry_run=True).summary == "1 unchanged, 1 would be read"


class Cells(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.rows: list[list[str]] = []

    def handle_starttag(self, tag: str, attrs: object) -> None:
        self.tags.append(tag)
        if tag == "tr":
            self.rows.append([])
        elif tag in ("td", "th"):
            self.rows[-1].append("")

    def handle_data(self, data: str) -> None:
        if self.rows and self.rows[-1]:
            self.rows[-1][-1] += data.strip()


def test_a_notebook_shows_a_report_as_tables() -> None:
    cells = Cells()
    made = report(
        FileReport("good.pdf", "stored"),
        FileReport("<img src=x>\x1b[31m.pdf", "failed", reason="It is <b>torn</b>.", remedy="Repair it."),
        source="/a\u202eb",
    )
    cells.feed(made._repr_html_())
    assert set(cells.tags) <= {"table", "thead", "tbody", "tr", "th", "td", "p"}
    assert ["source", r"/a\u202eb"] in cells.rows
    assert ["files", "2 (1 stored, 1 needs attention)"] in cells.rows
    assert [r"<img src=x>\x1b[31m.pdf", "failed", "It is <b>torn</b>.", "Repair it."] in cells.rows
    assert ["gpu<script>", "9", "90%", "2", "<no answer>"] in cells.rows


def test_of_ten_thousand_files_a_notebook_shows_some() -> None:
    made = report(*(FileReport(f"{n}.pdf", "failed") for n in range(10_000)))._repr_html_()
    assert made.count("<tr>") < MAX_ROWS + 20
    assert f"… and {10_000 - MAX_ROWS} more" in made


@pytest.mark.slow  # two runs
def test_files_that_fail_are_counted_in_the_state_and_fail_the_run_where_it_is_told_so(
    dask_workers: str, tmp_path: Path
) -> None:
    folder = write_folder(tmp_path / "papers", ["a", "b"], pages=1)
    (folder / "junk.pdf").write_bytes(b"no PDF")
    table = LanceTable(uri=str(tmp_path / "db"))
    flow = ingest_pdfs.with_options(task_runner=IngestTaskRunner(address=dask_workers))
    with nodes({}) as (node,):
        state = flow(str(folder), node.url, table, return_state=True)
        assert (state.name, state.message) == ("Completed", "2 stored, 1 needs attention")
        assert state.result().summary == state.message
        with get_client(sync_client=True) as client:
            kept = client.read_flow_run(state.state_details.flow_run_id).state
        assert kept is not None
        assert (kept.name, kept.message) == (state.name, state.message)

        told = Advanced(fail_if_files_fail=True)
        again = flow(str(folder), node.url, table, advanced=told, return_state=True)
        assert (again.name, again.message) == ("Failed", "2 unchanged, 1 needs attention")
        (folder / "c.pdf").write_bytes((folder / "a.pdf").read_bytes() + b"%")
        with pytest.raises(
            DocumentsFailed, match=r"1 of 4 files .*'junk.pdf'.*All the rest is stored"
        ) as caught:
            flow(str(folder), node.url, table, advanced=told)
        assert caught.value.paths == ("junk.pdf",)
        assert manifest(tmp_path / "db").keys() == {"a.pdf", "b.pdf", "c.pdf", "junk.pdf"}
        (folder / "junk.pdf").unlink()
        assert flow(str(folder), node.url, table, advanced=told).ok
