"""The words of a text that carry its meaning, in a form in which inflected ones are equal."""

import unicodedata
from typing import Final

import regex

_FUNCTION: Final = """
see note a about above after again against all also although always among an and another any are as at be because been
before being below between both but by can cannot could did do does doing done during each either else even ever
every few first finally for from further had has have having he hence her here hers him his how however i if in
indeed instead into is it its itself just later least less like many may maybe me meanwhile might more moreover
most much must my near neither never nevertheless next no none nor not nothing now of off often on once one only
or other others our out over own perhaps rather same second several shall she should since so some soon still
such than that the their them then there therefore these they third this those though through thus to together
too under unless until up upon us usually very was we were what when where whereas whether which while who whom
whose why will with within without would yes yet you your according additionally consequently conversely
currently especially furthermore generally given initially similarly specifically typically aber alle als am an
auch auf aus bei bis da das dass dem den der des die dies diese dieser dieses doch durch ein eine einem einen
einer eines er es fur hat hatte ich ihr im in ist ja jede jeder kein keine man mit nach nicht noch nur ob oder
ohne sein seine sich sie sind so uber um und unter vom von vor war waren was weil welche wenn wer werden wie
wird wo zu zum zur au aux avec ce ces cette comme dans de des du elle elles en est et etre il ils la le les leur
lui mais ne nous on ou par pas plus pour qu que quel quelle qui sa se ses son sont sur un une vous al como con
cual de del donde el ella en es esta este fue ha las lo los mas no para pero por porque que quien se sin son su
sus un una y
"""
FUNCTION_WORDS: Final = frozenset(_FUNCTION.split())
_NEGATING: Final = """
no not never none nor neither nothing nobody without cannot nicht kein keine keinen keiner keinem nie niemals
ohne pas jamais aucun aucune sans ningun ninguna nunca sin
"""
NEGATIONS: Final = frozenset(_NEGATING.split())

_WORD = regex.compile(r"[\p{L}\p{N}\p{M}]+(?:['’][\p{L}]+)?")
# Scripts without spaces between words, in which a quote may begin and end between any two signs.
UNSPACED: Final = regex.compile(r"[\p{Han}\p{Hiragana}\p{Katakana}\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}]")

_CLAUSE = regex.compile(r"[,;:.!?–—]\s+|\s(?:and|but|because|so that|while|und|aber|weil|mais|et|pero)\s")

# Letters by which long words are compared: `centimetres` and `centimetre`, `measured` and `measures` are then
# equal.
_STEM: Final = 5


def folded(text: str) -> str:
    """Return a text without case and accents."""
    decomposed = unicodedata.normalize("NFKD", unicodedata.normalize("NFKC", text).casefold())
    return "".join(each for each in decomposed if unicodedata.category(each) != "Mn").replace("\u2019", "'")


def content_words(text: str) -> set[str]:
    """Return the stems of the words of a text, without function words; for scripts without spaces, pairs of signs."""
    found: set[str] = set()
    for match in _WORD.finditer(folded(text)):
        word = match[0].removesuffix("'s")
        if UNSPACED.search(word):
            found |= {word[at : at + 2] for at in range(max(1, len(word) - 1))}
        elif word not in FUNCTION_WORDS and word not in NEGATIONS:
            found.add(word if word.isdigit() else word[:_STEM])
    return found


def overlap(sentence: str, quotes: str) -> float:
    """Return the share of a sentence's content words that its quotes have, 0 to 1; 0 if it has none."""
    words = content_words(sentence)
    return len(words & content_words(quotes)) / len(words) if words else 0.0


def contradicts(sentence: str, quotes: str) -> bool:
    """Return whether a sentence negates, and the part of its quotes about the same things does not, or the reverse."""
    words = content_words(sentence)
    clauses = [each for each in _CLAUSE.split(quotes) if each.strip()]
    shared = {clause: len(words & content_words(clause)) for clause in clauses}
    most = max(shared.values(), default=0)
    same = [clause for clause in clauses if shared[clause] == most]
    return all(negated(clause) != negated(sentence) for clause in same) if same else negated(sentence)


def negated(text: str) -> bool:
    """Return whether a text negates something."""
    return any(match[0] in NEGATIONS or match[0].endswith("n't") for match in _WORD.finditer(folded(text)))
