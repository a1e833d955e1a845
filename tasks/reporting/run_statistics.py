"""What a run counts, as one value that is added up: of a document, of a bundle, of a run.

A new counter is a field here, with its label for people, and a place that sets it. The JSON output and all reports show
it then.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any, Self

# Key of a field's label, in its metadata: every report shows the field under it, unless it is 0.
LABEL = "label"


@dataclass(frozen=True, slots=True, kw_only=True)
class RunStatistics:
    """Counters of a part of a run; those of all its parts are their sum.

    Attributes:
        size: Bytes of the files that were read.
        pages: Pages of the files that were read.
        chunks: Chunks that were stored.
        embedded: Of these, embedded by nodes in this run.
        reused: Of these, with a vector that was there: in the cache, in the table, or of the same text elsewhere
            in the run.
        from_cache: Texts whose vector the cache gave.
        from_table: Texts whose vector the table gave, because it stood in the document before.
        ocr_pages: Pages that were read from a picture of them.
        ocr_seconds: Time that this took, of all parsers together.
        dropped: Characters that parsing left out, by rule ("header", "page-number", "hyphen", …).
        node_seconds: Node time.
    """

    size: int = field(default=0, metadata={LABEL: "bytes read"})
    pages: int = 0
    chunks: int = 0
    embedded: int = 0
    reused: int = 0
    from_cache: int = 0
    from_table: int = 0
    ocr_pages: int = 0
    ocr_seconds: float = 0.0
    dropped: Mapping[str, int] = field(default_factory=dict)
    node_seconds: float = 0.0

    def __add__(self, other: RunStatistics) -> RunStatistics:
        """Return the sums, field by field; what is counted by name is added by name."""
        mine, theirs = self.counters(), other.counters()
        return RunStatistics(**{name: _sum(value, theirs[name]) for name, value in mine.items()})

    def counters(self) -> dict[str, Any]:
        """Return the counters by name. A report of a run holds more than these, and they alone are returned."""
        return {each.name: getattr(self, each.name) for each in fields(RunStatistics)}

    def of_an_earlier_run(self) -> Self:
        """Return the same for a run that only stores what an earlier one embedded: all its vectors were there."""
        reused = self.embedded + self.reused
        return replace(self, embedded=0, reused=reused, from_cache=0, from_table=0, node_seconds=0.0)

    @property
    def repeated(self) -> int:
        """Chunks whose vector was that of an equal text elsewhere in the run, or of an earlier run."""
        return max(self.reused - self.from_cache - self.from_table, 0)

    @property
    def dropped_by_rule(self) -> str:
        """What parsing left out, in words, the most frequent rule first."""
        return ", ".join(f"{rule} {count:,}" for rule, count in Counter(self.dropped).most_common())

    def labelled(self) -> dict[str, str]:
        """Return the counters that have a label, in words, without those that are 0."""
        values = {
            each.metadata[LABEL]: getattr(self, each.name) for each in fields(RunStatistics) if each.metadata
        }
        return {label: f"{value:,}" for label, value in values.items() if value}


def statistics_dict(of: RunStatistics) -> dict[str, Any]:
    """Return a value with its counters as plain values, its own fields first."""
    values = asdict(of)
    counters = of.counters().keys()
    own = {name: value for name, value in values.items() if name not in counters}
    return own | {name: values[name] for name in counters}


def _sum(one: Any, other: Any) -> Any:
    if isinstance(one, Mapping):
        return dict((Counter(one) + Counter(other)).most_common())
    return one + other
