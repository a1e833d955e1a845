"""What a run counts is one value: it is added up, and every report shows it."""

from __future__ import annotations

import dataclasses
import io

from rich.console import Console, RenderableType

from prefect_ollama import render
from prefect_ollama.flows import IngestReport
from prefect_ollama.tasks.reporting.markdown import report_markdown
from prefect_ollama.tasks.reporting.run_statistics import LABEL, RunStatistics

COUNTERS = [each.name for each in dataclasses.fields(RunStatistics)]


def some(by: int) -> RunStatistics:
    """Statistics in which no counter is 0 or equal to another one."""
    values = {name: by * (place + 1) for place, name in enumerate(COUNTERS)}
    return RunStatistics(**values | {"dropped": {"header": by, f"only {by}": 1}})  # type: ignore[arg-type]


def test_the_sum_holds_every_counter() -> None:
    added = some(10) + some(100)
    for place, name in enumerate(COUNTERS):
        if name != "dropped":
            assert getattr(added, name) == 110 * (place + 1)
    assert added.dropped == {"header": 110, "only 10": 1, "only 100": 1}
    assert sum([some(1), some(2)], RunStatistics()) == some(1) + some(2)


def test_a_run_that_only_stores_has_embedded_nothing_and_loses_no_chunk() -> None:
    was = RunStatistics(chunks=9, embedded=5, reused=4, from_cache=3, from_table=1, node_seconds=2.0, pages=2)
    now = was.of_an_earlier_run()
    assert (now.chunks, now.embedded, now.reused, now.repeated, now.pages) == (9, 0, 9, 9, 2)
    assert (now.from_cache, now.from_table, now.node_seconds) == (0, 0, 0.0)


def test_the_json_holds_every_counter_after_what_names_the_run() -> None:
    found = IngestReport("run", "/in", "/db", "model", False, (), **some(3).counters()).to_dict()
    assert list(found)[:5] == ["run_id", "source", "table", "model", "dry_run"]
    assert {name: found[name] for name in COUNTERS} == some(3).counters()


def test_every_labelled_counter_shows_in_every_report() -> None:
    labelled = {
        each.metadata[LABEL]: each.name for each in dataclasses.fields(RunStatistics) if each.metadata
    }
    assert labelled
    counted = RunStatistics(**{name: 1_234_567 for name in labelled.values()})  # type: ignore[arg-type]
    report = IngestReport("run", "/in", "/db", "model", False, (), **counted.counters())
    for text in (report_markdown(report), report._repr_html_(), _shown(render.report(report))):
        for label in labelled:
            assert label in text
        assert text.count("1,234,567") == len(labelled)
    nothing = IngestReport("run", "/in", "/db", "model", False, ())
    assert not nothing.labelled()


def _shown(what: RenderableType) -> str:
    console = Console(width=80, record=True, file=io.StringIO())
    console.print(what)
    return console.export_text()
