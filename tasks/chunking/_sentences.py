"""Divide a text: after sentences, and a sentence that is too long at the best border near its middle.

Divisions lose nothing: the parts joined again are the text.
"""

import re
import unicodedata
from collections.abc import Callable, Iterator
from typing import Final

# A sentence ends with a mark, perhaps closed by a quote or bracket, before white space and something that can
# begin a sentence; the marks of scripts without spaces end one by themselves. A search from each mark of a row of dots
# would take quadratic time, so it begins at the first mark alone.
_END: Final = re.compile(
    r"""(?<![.!?…؟۔।॥።])[.!?…؟۔।॥።]++["'”’»)\]]*\s+(?=["'“‘«(\[¿¡]*[^\W_a-zß-öø-ÿ])"""
    r"""|[。！？｡]+[”’」』）】]*\s*"""
)
# A full stop after these ends no sentence. The list has those that documents use often; a wrong division costs
# little, because chunks hold several sentences.
_ABBREVIATION: Final = re.compile(
    r"(?:^|[\s(\[])(?:[A-Z]|[A-Za-z]\.[A-Za-z]|Dr|Mr|Mrs|Ms|Prof|St|Figs?|Eqs?|No|Nr|[Vv]ol|Sec|Ch|pp?|cf"
    r"|vs|al|approx|resp|ca|bzw|vgl|Abb|Tab|Inc|Ltd|Co|Corp|Jr|Sr|Art|Bd|Hrsg|eds?|[Rr]efs?|Gen|Col"
    r"|Capt|Sgt|Lt|Gov|Sen|Rep|Rev)\.$"
)
# Nor after these before a number: months ("Oct. 24") and what is counted.
_BEFORE_NUMBER: Final = re.compile(
    r"(?:^|[\s(\[])(?:Jan|Feb|Mar|Apr|Jun|Jul|Aug|Sept?|Oct|Okt|Nov|Dec|Dez|[Nn]os?|[Cc]hap|[Pp]aras?"
    r"|[Aa]rts?|[Ss]ect?|Rs)\.$"
)


def sentences(text: str) -> Iterator[str]:
    """Divide a paragraph after its sentences; every part keeps the white space that follows it."""
    start = 0
    for match in _END.finditer(text):
        end = match.end()
        if end >= len(text):
            break
        before = text[max(start, match.start() - 12) : match.start() + 1]
        if text[match.start()] == "." and (
            _ABBREVIATION.search(before) or (text[end].isdigit() and _BEFORE_NUMBER.search(before))
        ):
            continue
        yield text[start:end]
        start = end
    if start < len(text):
        yield text[start:]


# Borders within a text, best first, and how much of the text around its middle is searched for each.
_BORDERS: Final = (
    (re.compile(r"\n\s*\n"), 0.6),
    (_END, 0.6),
    (re.compile(r"\n"), 0.6),
    (re.compile(r"[;:,،؛、，；：—–]\s+|[、，；：،؛]"), 0.5),
    (re.compile(r"\s+"), 0.9),
)


def halves(text: str) -> tuple[str, str]:
    """Divide a text of two or more characters near its middle, at the best border there is."""
    middle = len(text) / 2
    for pattern, share in _BORDERS:
        lowest, highest = middle * (1 - share), middle * (1 + share)
        ends = [
            m.end()
            for m in pattern.finditer(text)
            if lowest <= m.end() <= highest and 0 < m.end() < len(text)
        ]
        if ends:
            best = min(ends, key=lambda end: abs(end - middle))
            return text[:best], text[best:]
    best = int(middle)
    # Not between a letter and the marks that stand on it, unless there is nothing else in the text.
    while best > 1 and _belongs_to_previous(text[best]):
        best -= 1
    if _belongs_to_previous(text[best]):
        best = int(middle)
    return text[:best], text[best:]


def _belongs_to_previous(character: str) -> bool:
    return unicodedata.category(character)[0] == "M" or character in "\u200c\u200d"


def short_enough(text: str, longest: int, count_tokens: Callable[[str], int]) -> Iterator[tuple[str, int]]:
    """Divide a text until every part has at most `longest` tokens; give the parts with their tokens."""
    tokens = count_tokens(text)
    if tokens <= longest or len(text) < 2:
        yield text, tokens
        return
    for half in halves(text):
        yield from short_enough(half, longest, count_tokens)
