"""The parts of a document that parsing leaves out: characters by rule, and whole lines."""

from collections import Counter
from typing import Final, NamedTuple

# Maximum number of different lines that are listed, and of their characters: the report holds them for every file.
_MAX_LINES: Final = 50
_MAX_LINE_CHARACTERS: Final = 120

# What reports call the text that each rule leaves out.
RULE_NAMES: Final = {
    "header": "running heads",
    "footer": "running feet",
    "page-number": "page numbers",
    "table-header": "repeated table headers",
    "line-number": "numbers of lines",
    "hyphen": "hyphens at line ends",
    "leader": "dots before page numbers",
    "copy": "text drawn again",
    "garbled": "garbled text",
    "invisible": "invisible characters",
    "unknown": "characters without Unicode",
}


class DroppedLine(NamedTuple):
    """A line that was left out.

    Attributes:
        rule: The rule that left it out ("header", "footer", "page-number" or "table-header").
        text: Its text; for page numbers, the first one. Long lines are cut.
        times: How often it was left out.
    """

    rule: str
    text: str
    times: int


class Dropped:
    """Collects the text that parsing leaves out of one document.

    Attributes:
        characters: Characters by rule, white space not counted.
        lines: Lines by rule and text, with how often each was left out.
    """

    __slots__ = ("characters", "lines")

    def __init__(self) -> None:
        self.characters: Counter[str] = Counter()
        self.lines: Counter[tuple[str, str]] = Counter()

    def line(self, rule: str, text: str, *, like: str | None = None) -> None:
        """Count a line that is left out.

        Args:
            rule: The rule.
            text: Its text.
            like: The text under which it is listed, for lines of one kind that differ; by default its own text.
        """
        shown = " ".join((text if like is None else like).split())
        if len(shown) > _MAX_LINE_CHARACTERS:
            shown = shown[: _MAX_LINE_CHARACTERS - 1] + "…"
        self.characters[rule] += len("".join(text.split()))
        self.lines[rule, shown] += 1

    def listed(self) -> list[DroppedLine]:
        """Return the lines, the most frequent first. A last entry without text counts those beyond the limit."""
        ordered = self.lines.most_common()
        listed = [DroppedLine(rule, text, count) for (rule, text), count in ordered[:_MAX_LINES]]
        if rest := sum(count for _, count in ordered[_MAX_LINES:]):
            listed.append(DroppedLine("", "", rest))
        return listed
