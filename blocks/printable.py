"""Make text from outside safe to show: names of files and nodes, versions, errors, titles, passages.

Guarantees: the result of `printable` has only visible characters: no control sequence, no change of the direction of
writing, no new line that could imitate a log line. Applying it twice changes nothing. The result of `escape_markdown`
has nothing that a Markdown or HTML renderer acts on: no image, link, table cell or tag.

Sources: Unicode 16, chapter 23 (format characters); Unicode Technical Report 36 (spoofing); ECMA-48 (C0, C1);
CommonMark 0.31; GitHub Flavored Markdown (tables and autolinks).
"""

import html
import re
from typing import Final

# Characters of a text from outside that are shown by default.
MAX_CHARACTERS: Final = 2000

# Characters of a text from outside in an artifact.
MAX_CELL_CHARACTERS: Final = 400

# C0 with DEL and C1; marks, embeddings, overrides and isolates of direction; line and paragraph separator; signs
# without a width that no language needs; surrogates that stand alone; annotations, tags, noncharacters. The joiners
# U+200C and U+200D stay: Persian, Hindi and emoji need them.
_UNSAFE: Final = (
    "\x00-\x1f\x7f-\x9f\u061c\u180e\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb\ufffe\uffff"
    "\ud800-\udfff\U000e0000-\U000e0fff"
)
_IN_A_LINE: Final = re.compile(f"[{_UNSAFE}]")
_IN_LINES: Final = re.compile(f"(?![\n\t])[{_UNSAFE}]")

# Characters on which CommonMark and the extensions of Prefect's two UIs act within a line; `$` begins a formula.
_ACTIVE: Final = re.compile(r"([\\`*_{}\[\]|~$#!])")

# Beginnings of a line that make a list, a heading or a rule.
_AT_THE_START: Final = re.compile(r"^(?:(\d+)([.)])(?!\S)|()([-+=]))")

# GitHub's extension makes links of bare addresses, even if their characters are escaped. An HTML comment within the
# address prevents that. It is invisible, and is not copied with the text.
_ADDRESS: Final = re.compile(r"(?i)(?<=[a-z])(?=://)|(?<=www)(?=\.)|(?=@)")
_PART: Final = "<!-- -->"

# Both of Prefect's UIs cut off a word that is wider than their column, which is some fifty letters at 1280 pixels,
# and break lines after `-` and `/`. The second UI removes the tag for a possible break (`<wbr>`), and the first one
# shows the entity as text. So the character itself is inserted, a zero-width space.
_WIDE_WORD: Final = re.compile(r"([^\s/-]{50})(?=[^\s/-])")

# A zero-width space, which `escape_markdown` inserts into words of more than 50 letters.
MAY_BREAK: Final = "\u200b"


def printable(text: object, *, lines: bool = False, longest: int = MAX_CHARACTERS) -> str:
    r"""Return a text with only visible characters.

    Args:
        text: The text, or an object that `str` converts to it.
        lines: Whether it may have several lines; otherwise a new line is shown as `\n`.
        longest: Characters to keep; a longer text is cut and ends in `…`.

    Returns:
        The text, with `\x1b`, `\u202e` and so on in place of invisible characters.
    """
    said = str(text)
    if len(said) > longest:
        said = said[: longest - 1] + "…"
    return (_IN_LINES if lines else _IN_A_LINE).sub(_escaped, said)


def escape_markdown(text: object) -> str:
    """Return Markdown that shows a text literally in one line, also within a table or a list.

    White space of any kind becomes one space. Other invisible characters are shown as by `printable`. A very long word
    gets places where a line may break, and a text of more than `MAX_CELL_CHARACTERS` characters is cut.
    """
    shown = printable(" ".join(str(text).split()), longest=MAX_CELL_CHARACTERS)
    shown = _WIDE_WORD.sub(rf"\1{MAY_BREAK}", shown)
    parts = (_ACTIVE.sub(r"\\\1", html.escape(part, quote=False)) for part in _ADDRESS.split(shown))
    return _AT_THE_START.sub(r"\1\3\\\2\4", _PART.join(parts))


def escape_html(text: object) -> str:
    """Return HTML that shows a text literally in one line, cut after `MAX_CELL_CHARACTERS` characters."""
    return html.escape(printable(" ".join(str(text).split()), longest=MAX_CELL_CHARACTERS))


def escape_json(document: str) -> str:
    r"""Return a JSON document with invisible characters written as `\u` and four digits."""
    return _IN_LINES.sub(_as_json, document)


def _escaped(found: re.Match[str]) -> str:
    return found[0].encode("unicode_escape").decode()


def _as_json(found: re.Match[str]) -> str:
    pair = found[0].encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{pair[n : n + 2].hex()}" for n in range(0, len(pair), 2))
