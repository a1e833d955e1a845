"""The scripted chat node that reads its prompt: its answers, its planted errors, and what `ask` makes of them."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest

from benchmarks import answers, planted
from prefect_ollama.flows import ingest_pdfs
from prefect_ollama.tasks.answering import AskOptions
from tests.corpus_samples import identity_of, write_table
from tests.nodes import Node, nodes
from tests.nodes.reader import _ERRORS, DRAFT_ERRORS, SENTENCE_ERRORS, Reader, follows
from tests.test_ask import TIDES, Library

GAUGES = [
    "The lighthouse of the harbour was built in 1871. It is 42 metres high and has a lamp of 1200 candles.",
    "The lock of the canal has 9 gates. Each gate is 6 metres high and opens twice a day for the tide.",
]
QUESTIONS = [
    "By how many centimetres does the Moon recede in a year?",
    "Who counted growth lines of corals?",
    "How often does the harbour tide rise in a day?",
    "When was the lighthouse of the harbour built?",
    "How many metres high is the lighthouse lamp?",
    "How many gates has the lock of the canal?",
    "How often does each gate open for the tide?",
    "Where does the gauge of the tide stand?",
]


def prompt(question: str = QUESTIONS[0], passages: list[str] | None = None) -> str:
    given = [{"passage": at, "text": text} for at, text in enumerate(passages or [*TIDES, *GAUGES], 1)]
    return orjson.dumps({"question": question, "passages": given}).decode()


def read(reader: Reader, asked: str) -> Any:
    said = reader.read(asked)
    assert said is not None
    return orjson.loads(said.text)


def test_it_takes_the_sentence_with_the_words_of_the_question() -> None:
    sentences = read(Reader(), prompt())["sentences"]
    assert sentences == [
        {
            "text": "The Moon recedes from the Earth by 3.8 centimetres in a year.",
            "quotes": [
                {"passage": 2, "quote": "The Moon recedes from the Earth by 3.8 centimetres in a year."}
            ],
        }
    ]
    assert read(Reader(), prompt("Which painter met a committee on ice?"))["sentences"] == []


def test_errors_are_the_same_in_each_run_and_on_each_node() -> None:
    first, second = Reader(errors=0.5), Reader(errors=0.5, seed=7)
    said = [reader.read(prompt(question)) for question in QUESTIONS for reader in (first, second)]
    assert said[::2] == said[1::2]
    spoilt = [Reader(bad_drafts=0.5, seed=seed).read(prompt(QUESTIONS[0])) for seed in range(20)]
    assert len({each.text for each in spoilt if each is not None}) > 1


@pytest.mark.parametrize("kind", SENTENCE_ERRORS)
def test_each_kind_of_error_is_one(kind: str) -> None:
    text = "The lighthouse of the harbour was built in 1871 by its owners."
    honest = {"text": text, "quotes": [{"passage": 4, "quote": text}]}
    item = orjson.loads(orjson.dumps(honest))
    passages = orjson.loads(prompt())["passages"]
    passages[3]["text"] = text
    assert _ERRORS[kind](item, passages, "seed", {text})
    assert item != honest
    sources = [each for each in passages if each["passage"] in {q["passage"] for q in item["quotes"]}]
    verbatim = all(quote["quote"] in each["text"] for quote in item["quotes"] for each in sources)
    assert not (sources and verbatim and follows(item["text"], sources) and item["text"] == text)


def test_the_judge_keeps_to_its_rule_and_errs_at_its_rate() -> None:
    asked = [
        orjson.dumps({"sentence": f"The gate {at} is open.", "quotes": [{"text": f"The gate {at} is open."}]})
        for at in range(200)
    ]
    assert all(read(Reader(), each.decode())["supported"] for each in asked)
    said = [read(Reader(judge_errors=0.2), each.decode())["supported"] for each in asked]
    assert 0.1 < said.count(False) / len(said) < 0.3
    assert not follows("The gate is not open.", [{"text": "The gate is open."}])
    assert not follows("The gate has 7 doors.", [{"text": "The gate has 6 doors."}])


@pytest.fixture(scope="module")
def started() -> Iterator[list[Node]]:
    reader = {"errors": 0.6, "bad_drafts": 0.3, "judge_errors": 0.1}
    settings = [{"chat_models": ["qwen3"], "chat_reader": reader, "seed": seed} for seed in range(3)]
    with nodes(*settings) as made:
        yield made


def test_errors_are_counted_by_what_became_of_them(started: list[Node], tmp_path: Path) -> None:
    spec = write_table(tmp_path, identity_of(started[0]), {"tides.pdf": TIDES, "gauges.pdf": GAUGES})
    labels = [({"question": question}, "fresh") for question in QUESTIONS]
    with Library(spec, started).open() as corpus:
        asked = answers.ask_all(corpus, labels, AskOptions())
    found = answers.figures(asked)
    assert found["shown sentences whose quotes were found"] == "1.000"
    table = planted.planted_table([each.answer for each in asked], started)
    columns = [list(column.cells) for column in table.columns]
    rows = {name: tuple(map(int, values)) for name, *values in zip(*columns, strict=True) if values[-1]}
    assert rows.keys() == {*DRAFT_ERRORS, *SENTENCE_ERRORS, "all"}
    made, in_code, by_judge, missed = rows["all"]
    assert made == in_code + by_judge + missed
    assert sum(rows[kind][0] for kind in DRAFT_ERRORS) > 0
    assert in_code > 0
    # Only a judge can see these; all else is seen in code.
    judged = {"statement of another sentence", "negated"}
    assert all(row[2:] == (0, 0) for kind, row in rows.items() if kind not in {*judged, "all"})


@pytest.mark.slow
def test_the_command_prints_both_tables(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, prefect_server: str
) -> None:
    ingest_pdfs(str(answers.SAMPLES / "tides.pdf"), None, f"{tmp_path}/")
    words = ["answers", "--scripted", "--table", f"{tmp_path}/", "--questions", "4"]
    monkeypatch.setattr(sys, "argv", words)
    answers.main()
    shown = " ".join(capsys.readouterr().out.split())
    assert "questions (answerable)" in shown
    assert "Errors of the scripted node" in shown
    assert "The judge gave" in shown
