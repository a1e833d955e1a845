"""Answers of models that do not keep to the schema: some are read, others are refused."""

from __future__ import annotations

import json

import pytest

from prefect_ollama.blocks.nodes import json_object
from prefect_ollama.tasks.dispatch._answer_format import (
    MAX_ANSWER_CHARACTERS,
    check_of,
    whole_items,
    whole_part,
)

QUOTE = json_object(passage={"type": "integer"}, quote={"type": "string"})
SCHEMA = json_object(quotes={"type": "array", "maxItems": 2, "items": QUOTE})
CHECK = check_of(SCHEMA)
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
        f'Perhaps {{"quotes": []}}? No.\n</think>\n\n{GIVEN}',
        f'<|channel|>analysis<|message|>{{"quotes": []}}?<|end|><|start|>assistant<|channel|>final<|message|>{GIVEN}',
        f'<|channel|>analysis<|message|>{{"quotes": []}}?<|channel|>final <|constrain|>json<|message|>{GIVEN}',
        f"{GIVEN}</think>",
        f"```json\n{json.dumps(VALUE['quotes'])}\n```",
        f"<think>Perhaps.</think>\n{json.dumps(VALUE['quotes'])}",
        json.dumps(VALUE["quotes"]),
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
        (f"Maybe {GIVEN}? No.\n</think>\n\nI do not know.", "no JSON"),
        (f"<|channel|>analysis<|message|>{GIVEN}?<|channel|>final<|message|>I do not know.", "no JSON"),
        (f'{{"quotes": []}} or {GIVEN.replace("brace", "</think>")}', "several different JSON values"),
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


def test_of_an_answer_that_was_cut_the_whole_items_are_kept() -> None:
    answer = json.dumps({"quotes": [{"passage": 1, "quote": "a ] }"}, {"passage": 2, "quote": "b"}]})
    parts = [whole_part(answer[:end], SCHEMA, CHECK) for end in range(len(answer) + 1)]
    assert [len(part["quotes"]) if part else 0 for part in parts] == sorted(
        len(part["quotes"]) if part else 0 for part in parts
    )
    assert parts[-2] == json.loads(answer)
    first = {"quotes": [{"passage": 1, "quote": "a ] }"}]}
    assert first in parts
    assert None in parts


@pytest.mark.parametrize(
    "answer",
    [
        "",
        '{"quotes": [{"passage": 1, "quote": "It is',
        '{"quotes": [{"passage": "no", "quote": "a"}, {"pass',
        '<think>{"quotes": [{"passage": 1, "quote": "a"}, {',
        '{"quotes": [{"passage": 1, "quote": "a"}]} no: {"quotes": [{"passage": 2, "quote": "b"}',
        f"Maybe {GIVEN}? so\n</think>\n\nHere",
        f"<|channel|>analysis<|message|>{GIVEN[:-1]}",
        '{"quotes": [1, 2',
        '{"other": [{"passage": 1, "quote": "a"}, {"pass',
        f'{{"quotes": [{{"passage": 1, "quote": "a{chr(92)}ud83d"}}, {{',
        '{"quotes": [' + "[" * 100_000,
    ],
)
def test_a_part_that_is_not_clear_is_not_used(answer: str) -> None:
    assert whole_part(answer, SCHEMA, CHECK) is None


def test_a_draft_in_thoughts_is_no_part_of_an_answer_that_was_cut() -> None:
    draft = '{"quotes": [{"passage": 1, "quote": "a"}]}'
    for thoughts in (
        "x\n</think>",
        f"Maybe {draft}? so\n</think>\n",
        f"Maybe {draft}?<|channel|>final<|message|>",
    ):
        assert whole_part(f"{thoughts}{GIVEN[:-2]}, {{", SCHEMA, CHECK) == VALUE


def test_only_lists_have_parts() -> None:
    verdict = json_object(reason={"type": "string"}, verdict={"enum": ["confirmed", "refuted"]})
    assert whole_part('{"reason": "a", "verdict": "conf', verdict, check_of(verdict)) is None
    assert whole_part('{"supported": tr', json_object(supported={"type": "boolean"}), JUDGE) is None
    assert whole_part("Words", None, check_of(None)) is None
    assert whole_items('{"questions": ["a, b", "c', "questions") == ["a, b"]


def test_texts_are_bounded_where_a_node_ignores_their_bounds() -> None:
    check = check_of(json_object(text={"type": "string", "maxLength": 5}))
    assert check('{"text": "Kepler was"}') == {"text": "Keple"}
