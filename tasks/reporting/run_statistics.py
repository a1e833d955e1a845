"""The counters of a run as one value, which can be added: of a document, a bundle, a run.

A new counter needs a field with a label here, and the code that sets it. The JSON output and all reports then show it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any, Self

from prefect_ollama.tasks.parsing import RULE_NAMES

# Key of a field's label, in its metadata: every report shows the field under it, unless it is 0.
LABEL = "label"


@dataclass(frozen=True, slots=True, kw_only=True)
class RunStatistics:
    """Counters of a run or a part of it. The counters of a run are the sum of those of its parts.

    Attributes:
        size: Bytes of the files that were read.
        pages: Pages of the files that were read.
        chunks: Chunks that were stored.
        embedded: Chunks that nodes embedded in this run.
        reused: Chunks with a known vector: from the cache, the table, or an equal text elsewhere in the run.
        from_cache: Texts with a vector from the cache.
        from_table: Texts with a vector from the table, because they were in the document before.
        ocr_pages: Pages that were read by OCR.
        ocr_seconds: Time of OCR, of all parsers together, in seconds.
        dropped: Characters that parsing left out, by rule ("header", "page-number", "hyphen", …).
        node_seconds: Time that nodes spent, in seconds.
        other_tokens: Chunks in a script that their node tokenizes in another way than the table's or other nodes.
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
    # By name, because each format of documents has rules of its own.
    dropped: Mapping[str, int] = field(default_factory=dict)
    node_seconds: float = 0.0
    other_tokens: int = field(
        default=0, metadata={LABEL: "chunks in a script that their node tokenizes in another way"}
    )

    def __add__(self, other: RunStatistics) -> RunStatistics:
        """Return the sums, field by field. Counters by name are added by name."""
        # Of two reports only the counters are added, and the sum is not a report.
        mine, theirs = self.counters(), other.counters()
        return RunStatistics(**{name: _sum(value, theirs[name]) for name, value in mine.items()})

    def counters(self) -> dict[str, Any]:
        """Return the counters by name, without the other fields of a report."""
        return {each.name: getattr(self, each.name) for each in fields(RunStatistics)}

    def of_an_earlier_run(self) -> Self:
        """Return the counters for a run that only stores the vectors of an earlier run, as reused ones."""
        reused = self.embedded + self.reused
        return replace(self, embedded=0, reused=reused, from_cache=0, from_table=0, node_seconds=0.0)

    @property
    def repeated(self) -> int:
        """Chunks with the vector of an equal text elsewhere in the run, or with a vector of an earlier run."""
        return max(self.reused - self.from_cache - self.from_table, 0)

    @property
    def dropped_by_rule(self) -> str:
        """The characters that parsing left out, as text by rule, the most frequent rule first."""
        counts = Counter(self.dropped).most_common()
        return ", ".join(f"{RULE_NAMES.get(rule, rule)} {count:,}" for rule, count in counts)

    def labelled(self) -> dict[str, str]:
        """Return the counters with a label as text, without those that are 0."""
        values = {
            each.metadata[LABEL]: getattr(self, each.name) for each in fields(RunStatistics) if each.metadata
        }
        return {label: f"{value:,}" for label, value in values.items() if value}


def _sum(one: Any, other: Any) -> Any:
    if isinstance(one, Mapping):
        return dict((Counter(one) + Counter(other)).most_common())
    return one + other
