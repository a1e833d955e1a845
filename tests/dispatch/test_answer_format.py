"""Answers of models that do not keep to the schema: some are read, others are refused."""

from __future__ import annotations

import json

import pytest

from prefect_ollama.blocks.nodes import json_object
from prefect_ollama.tasks.dispatch._answer_format import MAX_ANSWER_CHARACTERS, check_of

QUOTE = json_object(passage={"type": "integer"}, quote={"type": "string"})
CHECK = check_of(json_object(quotes={"type": "array", "maxItems": 2, "items": QUOTE}))
JUDGE = check_of(json_object(supported={"type": "boolean"}))
VALUE = {"quotes": [{"passage": 2, "quote": 'a { brace, ] and "marks"'}]}
GIVEN = json.dumps(VALUE)


@pytest.mark.parametrize(
    "answer",
    [
        GIVEN,
        f"```json\n{GIVEN}\n```",
        f"Here is the answer:\n\n{GIVEN}\nI hope it helps {{you}}!",
        f'<think>Perhaps {{"quotes": []}}? No.</think>\n{GIVEN}',
        f"{GIVEN}\n{GIVEN}",
        json.dumps({**VALUE, "confidence": 0.9}),
        GIVEN.replace('"passage": 2', '"passage": "2"'),
        GIVEN.replace('"passage": 2', '"passage": "[2]"'),
        GIVEN.replace('"passage": 2', '"passage": "Passage 2"'),
    ],
)
def test_an_answer_is_read_from_what_a_model_writes_around_it(answer: str) -> None:
    assert CHECK(answer) == VALUE


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        ("", "no JSON"),
        ("The Moon recedes.", "no JSON"),
        (GIVEN[:-3], "no JSON"),
        (f'{{"quotes": []}} or {GIVEN}', "several different JSON values"),
        (f"<think>{GIVEN}</think> I do not know.", "no JSON"),
        (json.dumps([VALUE]), "does not fit the schema"),
        (json.dumps({"quotes": VALUE["quotes"] * 3}), "does not fit the schema"),
        (GIVEN.replace('"passage": 2', '"passage": "2 and 3"'), "does not fit the schema"),
        (GIVEN.replace('"passage": 2', '"passage": 2.5'), "does not fit the schema"),
        (f"so: {GIVEN.replace('brace', chr(92) + 'ud83d')}", "no JSON"),
        ("{" * MAX_ANSWER_CHARACTERS, "no JSON"),
        ('{"a":' * 100_000, "no JSON"),
        ("{" * MAX_ANSWER_CHARACTERS + "}", "more than"),
    ],
)
def test_what_is_no_clear_answer_is_refused(answer: str, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        CHECK(answer)


@pytest.mark.parametrize(
    "answer",
    ["Yes.", "yes, because it says so", "YES/NO", '{"supported": "perhaps"}', '{"supported": 1}'],
)
def test_only_a_clear_yes_of_the_judge_counts(answer: str) -> None:
    with pytest.raises(ValueError, match="it "):
        JUDGE(answer)
    with pytest.raises(ValueError, match="several"):
        JUDGE('{"supported": true}, no: {"supported": false}')
