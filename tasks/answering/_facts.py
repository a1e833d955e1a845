"""Numbers, dates, names and addresses of a sentence have to stand in its quotes.

A model that invents most often invents these, and here no other model is needed to see it. `docs/asking.md` lists what
is checked in which language.
"""

from collections.abc import Iterator, Sequence
from typing import Final

import regex

from prefect_ollama.tasks.answering._numbers import (
    NUMBER_WORDS,
    agrees,
    counted_in,
    dates_in,
    numbers_in,
    plain_letters,
    times,
)
from prefect_ollama.tasks.answering._words import FUNCTION_WORDS, folded

# Many programs make a link also of a bare domain, such as `example.org/pay`. One with a capital is checked as a name.
_ADDRESS: Final = regex.compile(
    r"(?i:(?:[a-z][a-z+]+://|www\.|\b(?:mailto|tel|javascript|data):)\S+|[\w.+-]+@[\w-]+\.[\w.]+)"
    r"|\b(?:[a-z0-9-]+\.)+(?:[a-z]{2,24}|xn--[a-z0-9-]+)\b(?:[/:?#]\S*)?"
)
_NAME: Final = regex.compile(r"[\p{L}\p{N}][\p{L}\p{N}\p{M}'’.&/_-]*")
_CONTRACTION: Final = regex.compile(r"'(?:s|re|ve|ll|d|m)$")
_DOTTED: Final = regex.compile(r"(?:\p{L}\.)+\p{L}")
# Looks back from a word: a search through all text before it would take quadratic time for a long question.
_SENTENCE_START: Final = regex.compile(r"(?<=^|[.!?:;•]\s+|^[\s\"'“‘«(\[]+)")
# Frequent words of German, and those of its questions, which are short and often without an article. Some of these are
# words or parts of names in other languages, such as "die" and "von", so one of them is not enough. Words that other
# languages often have twice in a sentence, such as "des", "den" and "man", are not here.
_GERMAN: Final = frozenset(
    regex.findall(
        r"\w+",
        "der die das dem und oder ist sind nicht kein keine ein eine einer einem einen eines mit auf fur von vom bei "
        "beim zum zur nach aus uber durch zwischen auch sich wird werden wurde wurden kann konnte konnten haben hatte "
        "wie wer wann warum wodurch womit wozu wieviel wieviele welche welcher welches welchem welchen",
    )
)

# Function words by which a sentence is taken for a German one, where every noun has a capital.
_GERMAN_WORDS: Final = 2


def unsupported_facts(sentence: str, quotes: Sequence[str], ordinary: Sequence[str] = ()) -> list[str]:
    """Return the numbers, dates, names and addresses of a sentence that no quote of it has.

    Args:
        ordinary: Texts that show which words are no names: those that they write with a small letter.
    """
    said = "\n".join(quotes)
    missing = [each for each in _addresses(sentence) if each not in set(_addresses(said))]
    rest, dates = dates_in(sentence)
    quoted_rest, quoted_dates = dates_in(said)
    missing += [words for words, date in dates if not any(agrees(date, other) for _, other in quoted_dates)]
    known = set(numbers_in(quoted_rest)) | {
        str(part) for _, date in quoted_dates for part in date if part is not None
    }
    known |= {times(number, scale) for scale in counted_in(quoted_rest) for number in numbers_in(quoted_rest)}
    missing += [number for number in numbers_in(rest) if number not in known]
    missing += _missing_names(rest, said, ordinary)
    return list(dict.fromkeys(missing))


def missing_names(question: str, passages: Sequence[str]) -> list[str]:
    """Return the names, codes and numbers of a question that no found passage has.

    Its first word has a capital for its place, so it counts only where it is a code, such as `E32`.
    """
    rest, _ = dates_in(question)
    found = "\n".join(passages)
    known = set(numbers_in(found))
    first = _NAME.search(rest)
    names = list(_missing_names(rest, found, passages))
    if first is not None and not any(each.isdigit() for each in first[0]):
        names = [each for each in names if each != first[0].strip(".'’_/-&")]
    return list(dict.fromkeys([*names, *(each for each in numbers_in(rest) if each not in known)]))


def _addresses(text: str) -> list[str]:
    return [each.rstrip(".,;:!?)]}\"'").casefold() for each in _ADDRESS.findall(text)]


def _missing_names(sentence: str, said: str, ordinary: Sequence[str]) -> Iterator[str]:
    """Yield names of a sentence that its quotes do not have: words with a capital, and codes such as `E32`."""
    quoted = {form for found in _NAME.finditer(plain_letters(said)) for form in _forms(found[0])}
    small = {
        folded(found[0])
        for text in ordinary
        for found in _NAME.finditer(plain_letters(text))
        if found[0][:1].islower()
    }
    nouns_have_capitals = sum(each in _GERMAN for each in folded(sentence).split()) >= _GERMAN_WORDS
    for found in _NAME.finditer(sentence):
        word = found[0].strip(".'’_/-&")
        if not word or not _is_name(word, nouns_have_capitals):
            continue
        forms = _forms(word)
        starts = _SENTENCE_START.match(sentence, found.start()) is not None
        if (
            forms & quoted
            or forms & (FUNCTION_WORDS | NUMBER_WORDS)
            or (starts and _is_ordinary(word, small))
        ):
            continue
        # A compound (`German-speaking`, `AC/DC`) is there if all its parts are.
        parts = regex.findall(r"[\p{L}\p{N}]+", word)
        if len(parts) > 1 and all(_forms(part) & quoted for part in parts):
            continue
        yield word


def _is_ordinary(word: str, small: set[str]) -> bool:
    """Return whether the first word of a sentence is written small elsewhere, perhaps in another form."""
    plain = folded(word)
    # English adverbs often begin a sentence, and the passages may not have them.
    if plain.endswith("ly") and len(plain) > 4:
        return True
    stem = regex.sub(r"(?:ing|ies|ed|es|s|e|y)$", "", plain)
    return plain in small or (
        len(stem) > 1 and any(each.startswith(stem) for each in small if len(each) <= len(plain) + 3)
    )


def _is_name(word: str, nouns_have_capitals: bool) -> bool:
    letters = [each for each in word if each.isalpha()]
    if not letters:
        return False
    if any(each.isdigit() for each in word):
        return any(each.isupper() for each in letters)
    if nouns_have_capitals:
        return len(letters) > 1 and sum(each.isupper() for each in letters) > 1
    return letters[0].isupper() and (len(letters) > 1 or word != "I")


def _forms(word: str) -> set[str]:
    """Return how a name may be written: with and without the s of possessive and plural, or a verb."""
    bare = folded(word).strip(".'_/-&")
    bare = _CONTRACTION.sub("", bare).removesuffix("'")
    # U.S. is US.
    bare = bare.replace(".", "") if _DOTTED.fullmatch(bare) else bare
    return {bare, bare.removesuffix("s")} if len(bare) > 3 else {bare}
