"""The commands `research` and `summarize` to their end: what they print where, the file, and their exit status."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest

from prefect_ollama.commands import app
from tests.corpus_samples import identity_of, write_table
from tests.nodes import Node, nodes
from tests.research_samples import (
    COUNTED,
    GEARS,
    PARTS,
    QUESTION,
    RECEDES,
    TIDES,
    draft_for,
    scripts,
    text_of,
)

pytestmark = pytest.mark.usefixtures("all_nodes_take_part")

WRONG = {"text": "It is green.", "quotes": []}


@pytest.fixture(scope="module")
def made() -> Iterator[list[Node]]:
    with nodes({"chat_models": ["qwen3", "judge"]}, {"chat_models": ["llama3.2"]}) as started:
        yield started


@pytest.fixture
def pair(made: list[Node], monkeypatch: pytest.MonkeyPatch) -> list[Node]:
    monkeypatch.setenv("PREFECT_LOGGING_LEVEL", "WARNING")
    for node in made:
        node.heal()
        node.reset()
    return made


@pytest.fixture
def given(pair: list[Node], tmp_path: Path) -> list[str]:
    """Options that name the nodes, their models, and a table of this test alone."""
    write_table(tmp_path / "db", identity_of(pair[0]), {"tides.pdf": TIDES, "wheels.pdf": GEARS})
    models = ["--chat-model", "qwen3", "--other-chat-model", "llama3.2", "--judge-model", "judge"]
    return [*(word for node in pair for word in ("--node", node.url)), "--uri", str(tmp_path / "db"), *models]


def run(*words: object) -> int:
    status = app([str(word) for word in words], result_action="return_value")
    assert isinstance(status, int)
    return status


def quotes(found: dict[str, Any]) -> list[tuple[str, int]]:
    return [
        (quote["path"], quote["page_from"])
        for each in found["answer"]["sentences"]
        for quote in each["quotes"]
    ]


def test_research_prints_a_report_writes_its_file_and_gives_json(
    prefect_server: str, pair: list[Node], given: list[str], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    scripts(
        pair,
        draft_for(PARTS[0], RECEDES, WRONG),
        draft_for(PARTS[1], COUNTED),
        synthesis=[text_of(RECEDES["text"], 1), text_of(COUNTED["text"], 2), text_of("It is known.", 9)],
    )
    file = tmp_path / "report.md"
    file.write_text("an older report")
    words = ["research", *QUESTION.split(), *given, "--document", "tides.pdf"]
    assert run(*words, "--output", file) == 0
    out, told = capfd.readouterr()
    shown = " ".join(out.split())
    assert f"{RECEDES['text']} [1]" in shown
    assert "[1] tides.pdf, page 2" in shown
    assert "[2] tides.pdf, page 3" in shown
    assert "1 finding, 1 dropped" in shown
    assert "Write synthesis" in shown
    assert "Traceback" not in told
    markdown = file.read_text(encoding="utf-8")
    assert markdown.startswith(f"# {QUESTION}\n")
    assert f"{COUNTED['text']} [2]" in markdown
    for part in ("## Left out", "## Parts", "## Steps", f"### {PARTS[0]}", "| Split the question |"):
        assert part in markdown
    assert [path.name for path in tmp_path.glob("report*")] == ["report.md"]  # no part of a file is left

    assert run(*words, "--json", "--quiet") == 0
    out, _ = capfd.readouterr()
    found = orjson.loads(out)
    assert found.keys() == {"answer", "parts", "steps", "ended_by", "text"}
    assert quotes(found) == [("tides.pdf", 2), ("tides.pdf", 3)]
    assert [part["title"] for part in found["parts"]] == list(PARTS)
    assert found["parts"][0]["dropped"][0]["reason"] == "It has no quote."
    assert found["answer"]["dropped"][0]["reason"] == "It names no verified finding."
    assert all(step["cached"] for step in found["steps"])
    assert found["ended_by"] == ""


@pytest.mark.slow
def test_research_that_finds_nothing_or_ends_early_says_so_by_its_status(
    prefect_server: str, pair: list[Node], given: list[str], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    scripts(pair, draft_for(PARTS[0], RECEDES), draft_for(PARTS[1], COUNTED), synthesis=[])
    assert run("research", *QUESTION.split(), *given, "--max-steps", "3", "--json") == 1
    found = orjson.loads(capfd.readouterr().out)
    assert (found["ended_by"], found["answer"]["kind"]) == ("steps", "not_found")
    assert "The limit of 3 steps ended the run early" in found["answer"]["notes"][0]

    scripts(pair, synthesis=[])
    file = tmp_path / "report.md"
    assert run("research", *QUESTION.split(), *given, "--output", file) == 1
    assert "Not in the documents." in capfd.readouterr().out
    assert "Not in the documents." in file.read_text(encoding="utf-8")

    asked = sum(node.stats()["chat_requests"] for node in pair)
    assert run("research", *QUESTION.split(), *given, "--output", tmp_path / "absent" / "a.md", "--json") == 2
    out, told = capfd.readouterr()
    assert "does not exist" in told
    assert out == "" or "error" in orjson.loads(out)
    assert sum(node.stats()["chat_requests"] for node in pair) == asked


@pytest.mark.slow
def test_summarize_prints_a_summary_writes_its_file_and_gives_json(
    prefect_server: str, pair: list[Node], given: list[str], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    scripts(
        pair,
        (TIDES[0][:20], {"sentences": [RECEDES, COUNTED]}),
        synthesis=[text_of("The Moon recedes by 3.8 centimetres in a year, as Wells found in 1963.", 1, 2)],
    )
    file = tmp_path / "summary.md"
    assert run("summarize", "tides.pdf", *given, "-o", file) == 0
    out, _ = capfd.readouterr()
    shown = " ".join(out.split())
    assert "as Wells found in 1963. [1][2]" in shown
    assert "[1] tides.pdf, page 2" in shown
    assert "tides.pdf, pages 1-3" in shown
    markdown = file.read_text(encoding="utf-8")
    assert markdown.startswith("# Summary of tides.pdf\n")
    assert "as Wells found in 1963. [1] [2]" in markdown

    assert run("summarize", *given, "--json", "--quiet") == 0
    found = orjson.loads(capfd.readouterr().out)
    assert found["answer"]["question"] == "Summary of 2 documents"
    assert quotes(found) == [("tides.pdf", 2), ("tides.pdf", 3)]
    assert {hit["path"] for hit in found["answer"]["passages"]} == {"tides.pdf", "wheels.pdf"}

    without_models = given[: given.index("--chat-model")]
    assert run("summarize", "tides.pdf", *without_models) == 2
    assert "No chat model is named" in capfd.readouterr().err
    assert run("summarize", "absent.pdf", *given) == 2
    assert "has no document" in capfd.readouterr().err
