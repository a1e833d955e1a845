"""The work of each node over time: texts and outages, in a bounded number of columns."""

import math
from collections import defaultdict
from collections.abc import Mapping

# Seconds of a column at first.
FIRST_COLUMN_S = 0.5

# With more columns than this, each two are joined, so that a run of days needs no more memory than one of minutes.
MAX_COLUMNS = 240


class Timeline:
    """Times are seconds since the beginning.

    Attributes:
        width: Seconds of a column.
        end: The latest known time.
    """

    def __init__(self) -> None:
        self.width = FIRST_COLUMN_S
        self.end = 0.0
        self._texts: defaultdict[str, defaultdict[int, float]] = defaultdict(lambda: defaultdict(float))
        self._trouble: defaultdict[str, set[int]] = defaultdict(set)

    def add(self, node: str, begin: float, end: float, texts: float) -> None:
        """Note texts that a node embedded at some time between two moments; they are spread over it."""
        begin = max(min(begin, end - 1e-3), 0.0)
        self.reach(end)
        first, last = int(begin / self.width), int(end / self.width)
        for column in range(first, last + 1):
            inside = min(end, (column + 1) * self.width) - max(begin, column * self.width)
            self._texts[node][column] += texts * inside / (end - begin)

    def take_back(self, node: str, texts: float) -> None:
        """Take away texts that no longer count for a node, the last ones first."""
        columns = self._texts[node]
        for column in sorted(columns, reverse=True):
            taken = min(texts, columns[column])
            columns[column] -= taken
            texts -= taken

    def note_trouble(self, node: str, begin: float, end: float) -> None:
        """Note that a node did not work between two moments."""
        self.reach(end)
        self._trouble[node].update(range(int(max(begin, 0.0) / self.width), int(end / self.width) + 1))

    def reach(self, end: float) -> None:
        """Note that this much time has passed."""
        self.end = max(self.end, end)
        # In steps of two, so that old columns can be joined without their single values.
        while self.end / self.width > MAX_COLUMNS:
            self.width *= 2
            for name, texts in self._texts.items():
                halved: defaultdict[int, float] = defaultdict(float)
                for column, count in texts.items():
                    halved[column // 2] += count
                self._texts[name] = halved
            for name, columns in self._trouble.items():
                self._trouble[name] = {column // 2 for column in columns}

    @property
    def nodes(self) -> list[str]:
        """Nodes that embedded anything, those with most texts first."""
        totals = {name: sum(texts.values()) for name, texts in self._texts.items()}
        return sorted((name for name, total in totals.items() if total), key=lambda name: -totals[name])

    @property
    def troubled(self) -> list[str]:
        """Nodes that did not work at some time, by name."""
        return sorted(self._trouble)

    def total(self, node: str) -> float:
        """Return the texts of a node."""
        return sum(self._texts[node].values()) if node in self._texts else 0.0

    def rates(self, node: str) -> list[float]:
        """Return the texts a second of a node, column by column to the end."""
        texts: Mapping[int, float] = self._texts.get(node, {})
        columns = range(math.ceil(self.end / self.width))
        # The last one may not be over.
        return [texts.get(n, 0.0) / min(self.width, self.end - n * self.width) for n in columns]

    def trouble(self, node: str) -> list[tuple[float, float]]:
        """Return the times in which a node did not work."""
        spans: list[tuple[float, float]] = []
        for column in sorted(self._trouble.get(node, ())):
            begin, end = column * self.width, min((column + 1) * self.width, self.end)
            if spans and begin <= spans[-1][1] + 1e-9:
                begin = spans.pop()[0]
            spans.append((begin, end))
        return spans
