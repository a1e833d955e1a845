"""What code checks of an answer without any model: quotes, numbers, dates, names, addresses, negations."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from prefect_ollama.blocks.documents import Hit
from prefect_ollama.blocks.errors import TextError
from prefect_ollama.tasks.answering._draft_checks import (
    DraftChecker,
    complete_sentences,
    context_of,
    without_marks,
)
from prefect_ollama.tasks.answering._extract import best_sentences
from prefect_ollama.tasks.answering._facts import missing_names, unsupported_facts
from prefect_ollama.tasks.answering._prompt import QUOTE_CHARACTERS, TEXT_CHARACTERS
from prefect_ollama.tasks.answering._quote_search import find_quote, normal
from prefect_ollama.tasks.answering._retrieval import Strength, strength
from prefect_ollama.tasks.answering._words import contradicts, overlap
from prefect_ollama.tasks.dispatch import Embedded

PASSAGE = (
    "The “sea-\nlevel” rose by 3.8 centimetres – not 3,800 – in 1966; it’s a re\u00ad\ncord. "
    "The ofﬁce of the\n\nharbour measured −5 °C, 10² m and CO₂. Nobody is liable for damage. "
    "Well-known readings survive. 潮の満ち干は一日に二度ある。"
)


@pytest.mark.parametrize(
    ("quote", "found"),
    [
        ("rose by 3.8 centimetres", "rose by 3.8 centimetres"),
        ('The "sea-level" rose', "The “sea-\nlevel” rose"),
        ("sealevel” rose", "sea-\nlevel” rose"),
        ("the SEALEVEL", None),  # the quotation mark before it is in the passage, and not in the quote
        ("CENTIMETRES - NOT 3,800 - IN 1966", "centimetres – not 3,800 – in 1966"),
        ("it's a record.", "it’s a re\u00ad\ncord"),
        ("The office of the harbour", "The ofﬁce of the\n\nharbour"),
        ("measured -5 °C", "measured −5 °C"),
        ("10^2 m and CO2", "10² m and CO₂"),
        ("wellknown readings", "Well-known readings"),
        ("潮の満ち干は一日に二度", "潮の満ち干は一日に二度"),
        ("一日に", "一日に"),
    ],
)
def test_a_quote_is_found_however_it_is_spelled(quote: str, found: str | None) -> None:
    place = find_quote(quote, normal(PASSAGE))
    assert (None if place is None else PASSAGE[slice(*place)]) == found


@pytest.mark.parametrize(
    "quote",
    [
        "rose by 3.9 centimetres",
        "rose by 3",  # a part of a number
        "8 centimetres",
        "800",
        "196",
        "5 °C",  # its sign is left out
        "102 m",  # 10² is not 102
        "centi",  # a part of a word
        "rose … in 1966",
        "rose by centimetres",
        "in 1966 rose",
        "…",
        '""',
        "",
        "   ",
    ],
)
def test_what_does_not_stand_there_is_not_found(quote: str) -> None:
    assert find_quote(quote, normal(PASSAGE)) is None


def test_every_run_of_words_of_a_passage_is_found_where_it_stands() -> None:
    dice = random.Random(7)
    words = PASSAGE.split()
    for _ in range(300):
        first = dice.randrange(len(words))
        last = dice.randrange(first, min(first + 9, len(words)))
        quote = " ".join(words[first : last + 1])
        # A half of a divided word is another word.
        if (
            not any(each.isalnum() for each in quote)
            or words[first] in ("level”", "cord.")
            or words[last] in ("“sea-", "re\u00ad")
        ):
            continue
        place = find_quote(quote, normal(PASSAGE))
        assert place is not None, quote
        assert normal(PASSAGE[slice(*place)]).text in normal(quote).text


def test_the_context_of_a_quote_has_what_it_leaves_out() -> None:
    text = "It was late. The company is not liable for damage. It paid."
    place = find_quote("liable for damage", normal(text))
    assert place is not None
    assert context_of(text, *place) == "The company is not liable for damage."


@pytest.mark.parametrize(
    ("sentence", "quote"),
    [
        ("It has 1282 pages.", "It has 1,282 pages in two columns."),
        ("It has 1,282 pages.", "It has 1 282 pages."),
        ("Der Wert ist 3,8.", "a value of 3.80"),
        ("It took three days.", "after 3 days"),
        ("It earned five million crowns.", "It earned 5 million crowns."),
        ("It earned 2.5 million crowns.", "It earned 2,500,000 crowns."),
        ("It earned 12 000 000 crowns.", "It earned 12 million crowns."),
        ("It earned 2,5 Millionen Kronen.", "it earned 2.5 mln Kronen"),
        ("It earned 5,802 million crowns.", "(Crowns in millions) | 5,802"),
        ("It earned ١٢٣ crowns.", "It earned 123 crowns."),
        ("They're sold in the U.S. and here.", "sold in the US"),
        ("It took 42 days.", "after forty-two days"),
        ("Two hundred and five pages.", "205 pages"),
        ("It happened on 3 May 2021.", "on 2021-05-03"),
        ("It happened in May 2021.", "on May 3rd, 2021"),
        ("It happened in 2021.", "am 3. Mai 2021"),
        ("It was -5 degrees.", "at −5 °C"),
        ("It lasted from 5 to 10 days.", "5–10 days"),
        ("Gutenberg's press stood in Mainz.", "the press of Gutenberg at Mainz"),
        ("However, it works.", "it works"),
        ("Copies were sold.", "they sold a copy"),
        ("See https://example.org/a.", "at https://example.org/a"),
        ("Méchain took the south.", "MECHAIN took the southern part"),
        ("Die Wassertemperatur ist nicht von dem Ofen abhängig.", "die Temperatur hängt nicht vom Herd ab"),
    ],
)
def test_facts_that_stand_in_the_quote_pass(sentence: str, quote: str) -> None:
    assert unsupported_facts(sentence, [quote], [quote]) == []


@pytest.mark.parametrize(
    ("sentence", "quote", "missing"),
    [
        ("It rose by 4.8 cm.", "It rose by 3.8 cm.", ["4.8"]),
        ("It has 1,283 pages.", "It has 1,282 pages.", ["1283"]),
        ("It has 1234 parts.", "It has 1.234 parts.", ["1234"]),
        ("It was 5 degrees.", "at −5 °C", ["5"]),
        ("It took four days.", "It took three days.", ["4"]),
        ("It earned 5 billion.", "It earned 5 million, and 7 billion later.", ["5000000000"]),
        ("It earned 5 million.", "It earned 5 thousand of a million.", ["5000000"]),
        ("It earned 5 billion.", "(in millions) 5", ["5000000000"]),
        ("It happened on 4 May 2021.", "on 3 May 2021", ["4 May 2021"]),
        ("It happened on 3 June 2021.", "on 3 May 2021", ["3 June 2021"]),
        ("It happened on 3 May 2021.", "in May 2021", ["3 May 2021"]),
        ("It happened in 1967.", "in 1966", ["1967"]),
        ("Einstein built the machine.", "Thomson built the machine.", ["Einstein"]),
        ("The machine of Kelvin was built.", "The machine of Thomson was built.", ["Kelvin"]),
        ("Error E33 means a fault.", "Error E32 means a fault.", ["E33"]),
        ("NATO paid for it.", "The government paid for it.", ["NATO"]),
        ("Pay at https://evil.example/x.", "Pay at the desk.", ["https://evil.example/x"]),
        ("Write to me@evil.example.", "Write to the desk.", ["me@evil.example"]),
    ],
)
def test_facts_that_do_not_are_named(sentence: str, quote: str, missing: list[str]) -> None:
    found = unsupported_facts(sentence, [quote], [quote])
    assert found[: len(missing)] == missing


def test_names_that_a_question_asks_for_have_to_be_found() -> None:
    passages = ["The code E32 means humidity. Gutenberg lived in Mainz."]
    assert missing_names("What does E99 mean?", passages) == ["E99"]
    assert missing_names("What does E32 mean?", passages) == []
    assert missing_names("Did Gutenberg live in Paris?", passages) == ["Paris"]
    assert missing_names("Livestock for a book", passages) == []  # a first word has its capital for its place


def test_a_number_of_thousands_of_words_is_read_in_parts() -> None:
    assert missing_names("hundred " * 5_000 + "boats", ["ten boats"]) == [f"1{'00' * 40}"]


@pytest.mark.parametrize(
    ("question", "missing"),
    [
        ("Wie spart man beim Kochen Brennstoff?", []),
        ("Wozu dienen Tiefsaugköpfe bei einem Brunnen?", []),
        ("Wie lebte man beim NABU in Mainz?", ["NABU"]),
        ("Which Paper did Bremen own?", ["Paper", "Bremen"]),
        ("Des marées et des courants de Brest", ["Brest"]),
    ],
)
def test_nouns_of_a_german_question_are_no_names(question: str, missing: list[str]) -> None:
    assert missing_names(question, ["Gutenberg lived in Mainz."]) == missing


@pytest.mark.parametrize(
    ("sentence", "quote", "differs"),
    [
        ("The company is liable for damage.", "The company is not liable for damage.", True),
        ("The company is not liable.", "The company is liable.", True),
        ("The company is not liable.", "The company isn't liable.", False),
        ("The loaf rose.", "The loaf rose, and nobody ate it.", False),
        ("Das Brot ist fertig.", "Das Brot ist nicht fertig.", True),
    ],
)
def test_a_negation_on_one_side_alone_is_seen(sentence: str, quote: str, differs: bool) -> None:
    assert contradicts(sentence, quote) is differs


def test_overlap_counts_words_of_content() -> None:
    assert overlap("The seas are measured.", "Measuring the sea") == pytest.approx(0.5)
    assert overlap("the of and", "anything") == 0.0
    assert overlap("潮の満ち干", "潮の満ち干は一日") == pytest.approx(1.0)


def hit(text: str, position: int = 0, page: int = 3) -> Hit:
    return Hit(
        text,
        "tides.pdf",
        "papers",
        page,
        page,
        "Rhythms",
        1.0,
        "doc",
        f"chunk-{position}",
        position,
        title="Tides",
    )


def draft(text: str, *quotes: tuple[int, str]) -> dict[str, object]:
    return {
        "sentences": [
            {"text": text, "quotes": [{"passage": number, "quote": quote} for number, quote in quotes]}
        ]
    }


def test_a_draft_is_read_with_the_words_of_the_passage() -> None:
    passages = (hit("The Moon pulls the “sea”. It rose by 3.8 cm."), hit("The Sun is far away.", 1))
    (sentence,) = DraftChecker("", passages).check(
        draft("The sea is pulled by the Moon [1].", (1, 'Moon pulls the "sea"'))
    )
    assert sentence.text == "The sea is pulled by the Moon."
    (quote,) = sentence.quotes
    assert (quote.text, quote.page_from, quote.path) == ("Moon pulls the “sea", 3, "tides.pdf")
    assert passages[0].text[quote.start : quote.end] == quote.text
    assert sentence.reason == ""


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        (draft("The Moon pulls."), "It has no quote."),
        (draft("The Moon pulls.", (7, "Moon pulls")), "There is no passage 7."),
        (draft("The Moon pulls.", (0, "Moon pulls")), "There is no passage 0."),
        (draft("The Moon pulls.", (2, "Moon pulls")), "Its quote is not in passage 2."),
        (draft("Kepler wrote it.", (1, "The Moon pulls")), "Not in its quotes: Kepler."),
    ],
)
def test_a_sentence_without_proof_says_why(given: dict[str, object], reason: str) -> None:
    passages = (hit("The Moon pulls the sea."), hit("The Sun is far away.", 1))
    (sentence,) = DraftChecker("", passages).check(given)
    assert sentence.reason == reason


def test_what_a_bound_of_length_cuts_proves_nothing_with_its_last_word() -> None:
    """Where a string reaches its bound, a node ends it within a word, and what limits a sentence may be missing."""
    words = " ".join(["tide"] * 300)
    passages = (hit(f"{words} rises in the harbour, but not at night."),)
    cut = passages[0].text[: QUOTE_CHARACTERS - 2] + "xx"
    (sentence,) = DraftChecker("", passages).check(draft("The tide rises.", (1, cut)))
    assert (sentence.reason, sentence.quotes[0].text) == ("", cut.rpartition(" ")[0])
    long = f"The tide rises. The tide {words}"[:TEXT_CHARACTERS]
    first, last = DraftChecker("", passages).check(draft(long, (1, "tide rises in the harbour")))
    assert (first.text, first.reason) == ("The tide rises.", "")
    assert last.reason == f"It was cut: its text had {TEXT_CHARACTERS} characters."


def test_several_sentences_in_one_are_checked_one_by_one() -> None:
    passages = (hit("The Moon pulls the sea."),)
    first, second = DraftChecker("", passages).check(
        draft("The Moon pulls the sea. Newton knew it in 1687.", (1, "The Moon pulls the sea"))
    )
    assert first.reason == ""
    assert "Newton" in second.reason
    assert "1687" in second.reason


def test_a_sentence_that_a_model_repeats_is_shown_once() -> None:
    """A copy that passes replaces one that does not."""
    passages = (hit("The Moon pulls the sea."),)
    wrong, right = (1, "The Sun pulls"), (1, "The Moon pulls the sea")
    drafts = [draft("The Moon pulls the sea.", each)["sentences"] for each in (wrong, right, right)]
    drafts.append(draft("the moon pulls the sea", right)["sentences"])
    (sentence,) = DraftChecker("", passages).check({"sentences": [each for (each,) in drafts]})
    assert (sentence.text, sentence.reason) == ("The Moon pulls the sea.", "")


@pytest.mark.parametrize("text", ["", "  ", " … ", "[1]"])
def test_a_sentence_without_words_is_named(text: str) -> None:
    passages = (hit("The Moon pulls the sea."),)
    (sentence,) = DraftChecker("", passages).check(draft(text, (1, "The Moon pulls the sea")))
    assert sentence.reason == "It has no words."


@pytest.mark.parametrize(
    ("quote", "quoted"),
    [
        ("The Moon pulls … rose by 3.8 cm", ["The Moon pulls", "rose by 3.8 cm"]),
        ("The Moon pulls the sea [...] It rose by ... in a year", []),  # "in a year" is not there
        ("The Moon pulls the sea. ... It rose by 3.8 cm.", ["The Moon pulls the sea", "It rose by 3.8 cm"]),
        ("rose by 3.8 cm … The Moon pulls", []),  # another order
        ("The Moon … rose by 3.8 cm", []),  # a part may be anything
        ("The Moon pulls … rose by 4.8 cm", []),
    ],
)
def test_a_quote_with_omissions_is_that_of_its_parts(quote: str, quoted: list[str]) -> None:
    passages = (hit("The Moon pulls the sea. It rose by 3.8 cm."),)
    (sentence,) = DraftChecker("", passages).check(draft("The sea rose.", (1, quote)))
    assert [each.text for each in sentence.quotes] == quoted
    assert bool(sentence.reason) is not bool(quoted)


@pytest.mark.parametrize(
    ("written", "shown"),
    [
        ("It rose (passage 2).", "It rose."),
        ("It rose [Passage 2, page 3].", "It rose."),
        ("It rose (see passages 1 and 2), and fell [3].", "It rose, and fell."),
        ("According to passage 2, it rose.", "It rose."),
        ("In passages 1 and 2, it rose.", "It rose."),
        ("It rose (in 3 steps).", "It rose (in 3 steps)."),
        ("The passage 2 km long rose.", "The passage 2 km long rose."),
    ],
)
def test_references_to_passages_are_no_part_of_a_sentence(written: str, shown: str) -> None:
    assert without_marks(written) == shown


def test_sentences_are_heard_as_they_become_whole() -> None:
    whole = (
        '{"sentences": [{"text": "A } \\" [b]", "quotes": []}, {"text": "C", "quotes": [{"passage": 1}]}]}'
    )
    heard = [complete_sentences(whole[:end]) for end in range(len(whole) + 1)]
    assert heard[-1] == ['A } " [b]', "C"]
    assert {len(each) for each in heard} == {0, 1, 2}
    assert complete_sentences('{"other": [{"text": "A"}]}') == []


def test_weak_passages_are_told_from_strong_ones() -> None:
    def found(cosine: float, question: str = "Why does the sea rise?", model: str = "all-minilm") -> Strength:
        return strength(question, [replace(hit("The Moon pulls the sea."), vector_score=cosine)], model)

    assert found(0.05).too_weak_to_ask
    assert not found(0.3).too_weak_to_ask
    assert found(0.3).too_weak_to_extract(0.1)
    assert not found(0.6).too_weak_to_extract(0.6)
    assert found(0.6, "Why does the sea rise in Paris?").too_weak_to_extract(0.6)
    assert found(0.6, "Why does the boat sink?").chance(0.6) < found(0.6).chance(0.6) < found(0.6).chance(0.7)
    # A passage about the one and a passage about the other say nothing about both.
    apart = [
        replace(hit(text), vector_score=0.6) for text in ("The sea at Brest rises.", "The sea rose in 1902.")
    ]
    both = strength("Why did the sea rise at Brest in 1902?", apart, "all-minilm")
    assert (both.missing, len(both.apart)) == ((), 1)
    assert both.too_weak_to_extract(0.6)
    assert "the one with the most lacks" in both.reason
    assert not strength("Why did the sea rise in 1902?", apart, "all-minilm").too_weak_to_extract(0.6)
    # Cosines of other models are not known, and a question in another language shares no word.
    other = found(0.05, "Warum steigt das Meer?", "bge-m3")
    assert not other.too_weak_to_ask
    assert other.too_weak_to_extract(0.9)
    assert found(0.05, "Which sea?", "bge-m3").chance(0.9) == 1.0
    assert strength("Why?", [], "bge-m3").too_weak_to_ask


def test_without_nodes_the_best_sentences_are_those_with_the_words_of_the_question() -> None:
    table = "| code | meaning |\n| E31 | Broken sensor of rain |\n| E32 | Humidity fixed at 100 |"
    passages = (hit("The harbour is quiet. The Moon pulls the sea twice a day."), hit(table, 1))
    found = best_sentences("How often does the Moon pull the sea?", passages, None)
    assert found.nearest is None
    best = found.sentences
    assert best[0].text == "The Moon pulls the sea twice a day."
    assert best[0].quotes[0].text == passages[0].text[best[0].quotes[0].start : best[0].quotes[0].end]
    assert (
        best_sentences("What does E31 mean?", passages, None).sentences[0].text
        == "| E31 | Broken sensor of rain |"
    )
    assert all(each.supported and each.judged_by == "verbatim" for each in best)


def test_the_next_sentence_is_shown_too_and_a_heading_is_not() -> None:
    text = (
        "The Moon\n\nThe Moon pulls the sea twice a day. It takes 12.4 hours. "
        + "The harbour is quiet. " * 20
    )
    passages = (replace(hit(text), heading="Tides > The Moon"),)
    first, *others = best_sentences("Does the Moon pull the sea?", passages, None).sentences
    assert first.text == "The Moon pulls the sea twice a day. It takes 12.4 hours."
    (quote,) = first.quotes
    assert text[quote.start : quote.end] == quote.text
    assert not any("12.4" in each.text for each in others)


class Vectors:
    """Nodes that give set vectors."""

    def __init__(self, vectors: dict[str, tuple[float, float]], failing: str = "") -> None:
        self.vectors, self.failing = vectors, failing

    def embed(self, texts: Sequence[str], *, kind: str = "document") -> Embedded:
        failures = {at: TextError("x", text=text) for at, text in enumerate(texts) if text == self.failing}
        vectors = np.array([self.vectors[text] for text in texts], np.float32)
        vectors[list(failures)] = np.nan  # as a dispatcher gives them
        return Embedded(vectors, failures, (), 0, 0)


TABLE = """Balance sheet

| | Year ended | |
| --- | --- | --- |
| (Crowns in millions) | 2021 | 2022 |
| Harbour dues | 1,545 | (5.9) |
| Repairs of piers, cranes etc. The council paid. | 12.5% | 3 |
| Lighthouse |  |  |
| Ferry boats | $7 | $9 |"""


@pytest.mark.parametrize(
    ("question", "row"),
    [
        ("Ferry boats", "| Ferry boats | $7 | $9 |"),
        ("Harbour dues", "| Harbour dues | 1,545 | (5.9) |"),
        ("The council paid", "| Repairs of piers, cranes etc. The council paid. | 12.5% | 3 |"),
    ],
)
def test_a_row_of_a_table_comes_whole_and_with_its_years_and_units(question: str, row: str) -> None:
    first, *others = best_sentences(question, (hit(TABLE),), None).sentences
    assert first.text == row
    assert [quote.text for quote in first.quotes] == [
        row,
        "| | Year ended | |",
        "| (Crowns in millions) | 2021 | 2022 |",
    ]
    assert all(TABLE[quote.start : quote.end] == quote.text for quote in first.quotes)
    # Neither a row of years nor one without values answers anything.
    assert not {each.text for each in others} & {
        "| (Crowns in millions) | 2021 | 2022 |",
        "| Lighthouse |  |  |",
    }


def test_pairs_of_a_table_are_no_heads_of_each_other() -> None:
    pairs = "| Adjusted dues | $10.40 – $10.60 |\n| --- | --- |\n| Reported dues | $9.45 |"
    (first, *_) = best_sentences("Reported dues", (hit(pairs),), None).sentences
    assert [quote.text for quote in first.quotes] == ["| Reported dues | $9.45 |"]


def test_headings_are_no_part_of_the_sentence_behind_them() -> None:
    text = (
        "Rhythms\n\nOf the sea\n\nThe Moon pulls the sea, as the tide of the last\n\nyear shows, and it rose."
    )
    passages = (replace(hit(text), heading="Rhythms > Of the sea"),)
    (first, *_) = best_sentences("Does the Moon pull the sea?", passages, None).sentences
    assert first.text == "The Moon pulls the sea, as the tide of the last year shows, and it rose."


def test_a_name_may_stand_in_the_name_of_the_file_alone() -> None:
    passages = [replace(hit("Net sales rose."), path="reports/ACME_2022-Q4_earnings.pdf")]
    assert strength("How did Acme do in 2022?", passages, "all-minilm").missing == ()
    assert strength("How did Bolt do in 2022?", passages, "all-minilm").missing == ("Bolt",)


def test_a_sentence_is_nearer_with_its_neighbours_and_its_passage() -> None:
    one, two = "It rises twice here.", "It falls twice here."
    near, far = "The sea is wide there.", "The bread is brown there."
    nodes: Any = Vectors({"Why?": (1, 0), one: (0.6, 0.8), two: (0.6, 0.8), near: (1, 0), far: (0, 1)})
    passages = (hit(f"{one} {near}"), hit(f"{two} {far}", 1))
    found = best_sentences("Why?", passages, nodes)
    scores = {
        each.quotes[0].start + 100 * each.quotes[0].passage: each.score or 0 for each in found.sentences
    }
    assert found.sentences[0].text == near
    assert found.nearest == pytest.approx(1.0, abs=0.01)
    beside = next(each for each in found.sentences if each.text.startswith(one))
    assert all(each.score < (beside.score or 0) for each in found.sentences if each.text.startswith(two)), (
        scores
    )
    strong = best_sentences("Why?", (passages[0], replace(passages[1], vector_score=0.9)), nodes).sentences
    assert strong[0].score > found.sentences[0].score  # type: ignore[operator]
    nodes.failing = near
    assert best_sentences("Why?", passages, nodes).sentences[0].text != near
