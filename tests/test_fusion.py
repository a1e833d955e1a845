"""How the scores of vectors and words are put into one order."""

from __future__ import annotations

import pytest

from prefect_ollama.blocks.lance._candidates import (
    SHORT_QUESTION_WORDS,
    TEXT_WEIGHT,
    Candidates,
    fused,
    weight_of_words,
)


def candidates(*, all: bool = True, **scores: float) -> Candidates:
    ordered = sorted(scores.items(), key=lambda each: -each[1])
    return Candidates(tuple(ord(name) for name, _ in ordered), tuple(score for _, score in ordered), all)


def order(near: Candidates, worded: Candidates) -> str:
    return "".join(chr(each.row) for each in fused(near, worded, 0.4))


def test_what_both_find_comes_before_what_one_finds() -> None:
    assert order(candidates(a=0.9, b=0.8, c=0.2), candidates(b=9.0, d=8.9, e=1.0))[0] == "b"


def test_scales_of_the_two_kinds_make_no_difference() -> None:
    near, worded = candidates(a=0.9, b=0.5, c=0.1), candidates(all=False, c=12.0, b=3.0, d=1.0)
    stretched = Candidates(worded.rows, tuple(100 * score + 7 for score in worded.scores), False)
    assert order(near, worded) == order(near, stretched)


def test_the_one_passage_with_a_rare_word_comes_first() -> None:
    near = candidates(**{chr(number): 0.9 - number / 1000 for number in range(97, 247)}, all=False)
    assert order(near, candidates(Z=7.0))[0] == "Z"
    assert order(near, candidates(**{chr(246): 7.0}))[0] == chr(246)


def test_a_score_far_above_the_others_decides() -> None:
    """Ranks would not tell these two questions apart."""
    near = candidates(a=0.60, b=0.59, c=0.58, d=0.57)
    assert order(near, candidates(d=9.0, c=8.9, b=8.8, a=1.0))[0] != "a"
    assert order(candidates(a=0.95, b=0.31, c=0.30, d=0.29), candidates(d=2.0, c=1.9, b=1.8, a=1.7))[0] == "a"


def test_one_kind_alone_keeps_its_order_and_both_scores_are_told() -> None:
    near = candidates(a=0.9, b=0.5)
    assert order(near, Candidates()) == "ab"
    assert order(Candidates(), near) == "ab"
    first, second = fused(candidates(a=0.9, b=0.5), candidates(all=False, b=2.0))
    assert (first.vector, first.text, second.vector, second.text) == (0.9, None, 0.5, 2.0)
    assert first.score == pytest.approx(1 - TEXT_WEIGHT)
    assert fused(Candidates(), Candidates()) == []


def test_equal_scores_are_ordered_by_row() -> None:
    assert order(candidates(b=1.0, a=1.0), Candidates()) == "ab"


def test_words_count_less_the_longer_a_question_is() -> None:
    assert weight_of_words(0) == weight_of_words(SHORT_QUESTION_WORDS) == TEXT_WEIGHT
    assert weight_of_words(4 * SHORT_QUESTION_WORDS) == TEXT_WEIGHT / 4
    near, worded = candidates(a=0.9, b=0.5, c=0.1), candidates(c=9.0, b=5.0, a=1.0)
    assert [each.row for each in fused(near, worded, 0.4)] == list(map(ord, "abc"))
    assert [each.row for each in fused(near, worded, 0.6)] == list(map(ord, "cba"))
