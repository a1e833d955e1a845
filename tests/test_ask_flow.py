"""The flow `ask` and its command: the artifacts in Prefect, stdout and stderr, and the exit status."""

from __future__ import annotations

import base64
import re
from collections.abc import Iterator
from pathlib import Path

import orjson
import pytest

from prefect_ollama.blocks import LanceTable, OllamaCluster
from prefect_ollama.blocks.documents import CheckedAnswer, CheckedSentence, Quote
from prefect_ollama.commands import app
from prefect_ollama.flows import ask
from prefect_ollama.tasks.reporting import answer_lines, lines_markdown
from tests.corpus_samples import identity_of, write_table
from tests.flow_samples import latest_artifact, write_pdf
from tests.nodes import Node, nodes
from tests.test_ask import COUNTED, DRAFT, JUDGE, QUESTION, RECEDES, TIDES, YES
from tests.test_pictures import marked


@pytest.fixture(scope="module")
def node() -> Iterator[Node]:
    with nodes({"chat_models": ["qwen3"]}) as (started,):
        refused = {"text": "It is green.", "quotes": []}
        script = [{"match": DRAFT, "content": {"sentences": [RECEDES, refused, COUNTED]}}]
        started.control(chat_script=[*script, {"match": JUDGE, "content": YES}])
        yield started


@pytest.fixture(scope="module")
def place(node: Node, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("db")
    write_table(folder, identity_of(node), {"tides.pdf": TIDES})
    return folder


def test_the_flow_answers_and_shows_the_answer_as_an_artifact(
    prefect_server: str, node: Node, place: Path
) -> None:
    cluster = OllamaCluster(nodes=[node.url], chat_model="qwen3", judge_model="qwen3")
    answer = ask(QUESTION, cluster, LanceTable(uri=str(place)), drafts=2)
    assert [each.text for each in answer.sentences] == [RECEDES["text"], COUNTED["text"]]
    assert answer.drafts == 2
    shown = latest_artifact(prefect_server, "answer")
    assert f"{RECEDES['text']} [1]" in shown
    assert "[2] tides.pdf, page 3: “J. W. Wells counted" in shown
    assert "## Left out" in shown
    extract = ask(QUESTION, [node.url], LanceTable(uri=str(place)), mode="text")
    assert extract.kind == "extract"


def test_the_command_prints_the_answer_and_tells_its_steps_on_stderr(
    node: Node, place: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PREFECT_LOGGING_LEVEL", "WARNING")
    given = ["ask", *QUESTION.split(), "--node", node.url, "--uri", str(place), "--chat-model", "qwen3"]
    assert app([*given, "--judge-model", "qwen3"], result_action="return_value") == 0
    out, told = capfd.readouterr()
    assert "3.8 centimetres in a year. [1]" in " ".join(out.split())
    assert "[1] tides.pdf, page 2" in out
    assert "Left out, because the documents do not support it:" in out
    assert f"Draft, not checked yet: {RECEDES['text']}" in told
    assert "Judging 2 pairs" in told

    assert app([*given, "--json", "--quiet"], result_action="return_value") == 0
    out, told = capfd.readouterr()
    found = orjson.loads(out)
    assert found["judged_by"] == "words"
    assert [each["text"] for each in found["dropped"]] == ["It is green."]
    assert "Draft" not in told

    plain = ["ask", "What does E99 mean?", "--node", node.url, "--uri", str(place)]
    assert app(plain, result_action="return_value") == 1
    assert "Not in the documents." in capfd.readouterr().out


@pytest.mark.slow
def test_the_words_of_each_quote_are_marked_on_pictures_of_their_pages(
    prefect_server: str, node: Node, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    papers = tmp_path / "papers"
    write_pdf(papers / "tides.pdf", TIDES)
    write_table(tmp_path / "db", identity_of(node), {"tides.pdf": TIDES}, source=str(papers))
    given = [
        "ask",
        *QUESTION.split(),
        "--node",
        node.url,
        "--uri",
        str(tmp_path / "db"),
        "--chat-model",
        "qwen3",
    ]
    given += ["--show", str(tmp_path / "pictures")]
    assert app([*given, "--json", "--quiet"], result_action="return_value") == 0
    found = orjson.loads(capfd.readouterr().out)
    files = [file for each in found["sentences"] for quote in each["quotes"] for file in quote["pictures"]]
    assert [Path(file).name for file in files] == ["01-tides-page-2.png", "02-tides-page-3.png"]
    assert all(marked(Path(file).read_bytes()).any() for file in files)
    assert app(given, result_action="return_value") == 0
    assert "02-tides-page-3.png" in "".join(capfd.readouterr().out.split())

    ask(
        QUESTION,
        OllamaCluster(nodes=[node.url], chat_model="qwen3"),
        LanceTable(uri=str(tmp_path / "db")),
        show=True,
    )
    shown = latest_artifact(prefect_server, "answer")
    pictures = re.findall(r"!\[quote (\d) on page (\d)\]\(data:image/png;base64,([^)]+)\)", shown)
    assert [(quote, page) for quote, page, _ in pictures] == [("1", "2"), ("2", "3")]
    assert all(marked(base64.b64decode(data)).any() for *_, data in pictures)
    (papers / "tides.pdf").unlink()
    assert app([*given, "--json"], result_action="return_value") == 0
    out, told = capfd.readouterr()
    assert not any(quote["pictures"] for each in orjson.loads(out)["sentences"] for quote in each["quotes"])
    assert "no such file" in told


def test_what_a_document_or_model_writes_is_no_markup() -> None:
    quote = Quote(1, "<b>x</b>", 0, 8, "a](http://evil.example).pdf", "papers", 1, 1)
    sentence = CheckedSentence("![x](http://evil.example/?q=1)", (quote,), supported=True)
    shown = lines_markdown(answer_lines(CheckedAnswer("# Why?", "answer", (sentence,))))
    assert "](" not in shown.replace("\\](", "")
    assert "<b>" not in shown
    assert "# # Why" not in shown
