"""What a scripted chat node says as a simple reader: sentences that share words with the question, and planted errors.

It has no understanding. It knows nothing but the prompt, whose last message is JSON:

- `question` and `passages`: sentences of the passages that have at least a quarter of the words of the question, by
  rarity, each with its passage and itself as the quote; where it is asked for main statements, the first sentence of
  each passage. Errors are planted in a share of sentences and of whole drafts.
- `sentence` and `quotes`: yes if the quotes have 0.8 of the sentence's words and all its numbers, and negate as often.
- `finding` and `passages`: confirmed by the same rule.
- `findings`: each finding as a sentence; of more than four every second one.
- `question` and `parts`: the question, divided at "and".

Errors are drawn by a hash: a sentence has the same one on every node and in every run, a whole draft by the node's
seed.
"""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Callable, Sequence, Set
from dataclasses import dataclass, field
from typing import Any

import orjson

MAX_SENTENCES = 3
MIN_SHARE = 0.25
NEAR_BEST = 0.7
JUDGE_SHARE = 0.8

DRAFT_ERRORS = ("malformed JSON", "done_reason length")
NO_ERROR = ""

_SENTENCE_END = re.compile(r"(?<=[.!?])\s+|\n+")
_WORD = re.compile(r"\w+")
_NUMBER = re.compile(r"\d+")
_NEGATION = re.compile(r"\b(?:not|no|never|cannot)\b")
_VERB = re.compile(r"\b(?:is|are|was|were|can|could|has|have|will)\b")


@dataclass(frozen=True, slots=True)
class Said:
    """An answer.

    Attributes:
        text: The answer.
        cut: Whether it ends at 0.6 of its length for its limit of tokens.
        note: What was planted, for `Node.stats()["chat_read"]`.
    """

    text: str
    cut: bool = False
    note: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Reader:
    """Reads a prompt.

    Attributes:
        errors: Share of sentences with a planted error.
        bad_drafts: Share of drafts that cannot be used.
        judge_errors: Share of pairs and findings about which it says the opposite of its rule.
        seed: Of the drafts that cannot be used; nodes should have unlike ones.
    """

    errors: float = 0.0
    bad_drafts: float = 0.0
    judge_errors: float = 0.0
    seed: int = 0

    def read(self, prompt: str, number: int = 0) -> Said | None:
        """Answer a prompt; None for one that is none of ours.

        Args:
            prompt: The last message.
            number: Of the draft: `seed` of the request.
        """
        try:
            given = orjson.loads(prompt)
        except orjson.JSONDecodeError:
            return None
        if not isinstance(given, dict):
            return None
        if "findings" in given:
            chosen = given["findings"][:: 2 if len(given["findings"]) > 4 else 1]
            kept = [{"text": each["text"], "findings": [each["finding"]]} for each in chosen]
            return _said({"sentences": kept[:16]})
        if "finding" in given:
            follows = self._judged(given["finding"], given["passages"], prompt)
            reason = "Its words stand there." if follows else "Not all of its words stand there."
            return _said({"reason": reason, "verdict": "confirmed" if follows else "refuted"})
        if "sentence" in given:
            return self._judge(given, prompt)
        if "parts" in given:
            return _said({"questions": _parts(given["question"])[: given["parts"]]})
        return self._draft(given, number) if "passages" in given else None

    def _judge(self, given: dict[str, Any], prompt: str) -> Said:
        said = self._judged(given["sentence"], given["quotes"], prompt)
        erred = said != follows(given["sentence"], given["quotes"])
        return _said({"supported": said}, {"step": "judge", "said": said, "erred": erred})

    def _judged(self, sentence: str, sources: Sequence[dict[str, Any]], prompt: str) -> bool:
        return follows(sentence, sources) != (_dice(prompt, "judge") < self.judge_errors)

    def _draft(self, given: dict[str, Any], number: int) -> Said:
        question, passages = given["question"], given["passages"]
        sentences, notes = [], []
        best = _first(passages) if "main statements" in question else _best(question, passages)
        for passage, sentence in best:
            item = {
                "text": " ".join(sentence.split()),
                "quotes": [{"passage": passage["passage"], "quote": sentence}],
            }
            seed = f"{number} {question} {sentence}"
            error = NO_ERROR
            if _dice(seed, "error") < self.errors:
                # A statement that is also written without an error could not be told from it.
                taken = {" ".join(each.split()) for _, each in best}
                error = _plant(item, passages, seed, taken)
            sentences.append(item)
            notes.append({"text": item["text"], "error": error})
        note = {"step": "draft", "question": question, "error": NO_ERROR, "sentences": notes}
        said = _said({"sentences": sentences}, note)
        if not sentences or _dice(f"{self.seed} {number} {question}", "draft") >= self.bad_drafts:
            return said
        error = DRAFT_ERRORS[int(2 * _dice(question, "kind"))]
        note["error"] = error
        if error == "done_reason length":
            return Said(said.text, cut=True, note=note)
        broken = (said.text[: int(0.6 * len(said.text))], f"{said.text[:-1]},}}")
        return Said(broken[int(2 * _dice(question, "how"))], note=note)


def follows(sentence: str, sources: Sequence[dict[str, Any]]) -> bool:
    """Return whether a sentence follows from texts by the rule of the judge."""
    text = " ".join(each["text"] for each in sources)
    wanted, there = _words(sentence), _words(text)
    numbers = set(_NUMBER.findall(sentence)) <= set(_NUMBER.findall(text))
    negations = len(_NEGATION.findall(sentence.lower())) == len(_NEGATION.findall(text.lower()))
    return numbers and negations and len(wanted & there) >= JUDGE_SHARE * len(wanted)


def _first(passages: Sequence[dict[str, Any]]) -> list[tuple[dict[str, Any], str]]:
    """Return the first sentence of each passage; twenty at most, as the schema allows."""
    return [(each, _SENTENCE_END.split(each["text"].strip())[0]) for each in passages[:20]]


def _best(question: str, passages: Sequence[dict[str, Any]]) -> list[tuple[dict[str, Any], str]]:
    """Return the sentences with the most words of a question, with their passages; each sentence once."""
    found = {
        " ".join(sentence.split()): (passage, sentence)
        for passage in reversed(passages)
        for part in _SENTENCE_END.split(passage["text"])
        if len((sentence := part.strip()).split()) > 2
    }
    places = list(reversed(found.values()))
    words = [_words(sentence) for _, sentence in places]
    weights = {
        word: math.log(1 + len(words) / (1 + sum(word in each for each in words)))
        for word in _words(question)
    }
    whole = sum(weights.values()) or 1.0
    scores = [sum(weights[word] for word in each & weights.keys()) / whole for each in words]
    order = sorted(range(len(places)), key=lambda at: -scores[at])[:MAX_SENTENCES]
    least = max(MIN_SHARE, NEAR_BEST * scores[order[0]]) if order else 0.0
    return [places[at] for at in order if scores[at] >= least]


Item = dict[str, Any]
Passages = Sequence[dict[str, Any]]


def _plant(item: Item, passages: Passages, seed: str, taken: Set[str]) -> str:
    """Put an error into a sentence with a quote, and return its kind."""
    kinds = sorted(_ERRORS, key=lambda kind: _dice(seed, kind))
    return next((kind for kind in kinds if _ERRORS[kind](item, passages, seed, taken)), NO_ERROR)


def _paraphrase(item: Item, passages: Passages, seed: str, taken: Set[str]) -> bool:
    (quote,) = item["quotes"]
    words = quote["quote"].split()
    if len(words) < 5:
        return False
    at = 1 + int((len(words) - 2) * _dice(seed, "word"))
    quote["quote"] = " ".join(words[:at] + words[at + 1 :])
    return True


def _wrong_passage(item: Item, passages: Passages, seed: str, taken: Set[str]) -> bool:
    (quote,) = item["quotes"]
    # Passages overlap, so a sentence may stand in two of them.
    others = [each["passage"] for each in passages if quote["quote"] not in each["text"]]
    others.append(len(passages) + 1)
    quote["passage"] = others[int(len(others) * _dice(seed, "passage"))]
    return True


def _change_number(item: Item, passages: Passages, seed: str, taken: Set[str]) -> bool:
    numbers = list(_NUMBER.finditer(item["text"]))
    if not numbers:
        return False
    found = numbers[int(len(numbers) * _dice(seed, "number"))]
    last = str((int(found[0][-1]) + 1 + int(8 * _dice(seed, "digit"))) % 10)
    item["text"] = item["text"][: found.end() - 1] + last + item["text"][found.end() :]
    return True


def _other_statement(item: Item, passages: Passages, seed: str, taken: Set[str]) -> bool:
    others = sorted(
        {
            text
            for passage in passages
            for part in _SENTENCE_END.split(passage["text"])
            if len((text := " ".join(part.split())).split()) > 4 and text not in taken
        }
    )
    if not others:
        return False
    item["text"] = others[int(len(others) * _dice(seed, "other"))]
    return True


def _negate(item: Item, passages: Passages, seed: str, taken: Set[str]) -> bool:
    text = item["text"]
    changed = text.replace(" not ", " ", 1) if " not " in text else _VERB.sub(r"\g<0> not", text, count=1)
    item["text"] = changed
    return changed != text


def _leave_out_quote(item: Item, passages: Passages, seed: str, taken: Set[str]) -> bool:
    item["quotes"] = []
    return True


_ERRORS: dict[str, Callable[[Item, Passages, str, Set[str]], bool]] = {
    "paraphrased quote": _paraphrase,
    "wrong passage": _wrong_passage,
    "changed number": _change_number,
    "statement of another sentence": _other_statement,
    "negated": _negate,
    "no quote": _leave_out_quote,
}
SENTENCE_ERRORS = tuple(_ERRORS)


def _parts(question: str) -> list[str]:
    parts = [part.strip(" ,?") for part in re.split(r",?\s+and\s+", question)]
    return [f"{part}?" for part in parts] if all(len(part.split()) > 2 for part in parts) else [question]


def _words(text: str) -> set[str]:
    """Return the first five letters of words of more than three, and numbers."""
    return {
        word[:5] for word in map(str.casefold, _WORD.findall(text)) if len(word) > 3 or word.isdigit()
    } - _COMMON


_COMMON = {
    *("what", "which", "when", "where", "whose", "does", "have", "from", "that", "this", "with", "there"),
    *("their", "they", "were", "will", "into", "about", "been", "being", "many", "much", "than", "then"),
}


def _dice(seed: str, what: str) -> float:
    """Return a number from 0 up to 1 that depends on nothing else."""
    data = f"{what} {seed}".encode("utf-8", "surrogatepass")
    return int.from_bytes(hashlib.blake2b(data, digest_size=6).digest()) / 2**48


def _said(value: Any, note: dict[str, Any] | None = None) -> Said:
    return Said(orjson.dumps(value).decode(), note=note or {})
