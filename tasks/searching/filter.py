"""Which documents a name means, and which passages a search may find: by source, folder, date, page, title and author.

Guarantees: names with any characters are compared with those of the table, and never become part of a query. A name
that nothing has is refused, and the nearest names are suggested.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, date, datetime
from difflib import get_close_matches
from pathlib import Path, PurePath
from typing import Any, Final

from prefect_ollama.blocks.documents import Document
from prefect_ollama.blocks.errors import ConfigurationError
from prefect_ollama.blocks.lance import folded, one_of
from prefect_ollama.blocks.user_path import with_home
from prefect_ollama.tasks.planning import composed, documents_named, file_of, location_of, of_source

# Names that an error suggests; more are hard to read.
MAX_SUGGESTIONS: Final = 3

# Maximum number of names in the search for the nearest ones: `difflib` takes some 10 µs for each.
MAX_COMPARED_NAMES: Final = 20_000

# Pages are 32-bit integers in the table, and LanceDB compares them with no larger number.
LAST_PAGE: Final = 2**31 - 1

# Commands that list or summarise documents have a filter too, so the state names no search.
STATE: Final = "Nothing was done."


@dataclass(frozen=True, slots=True)
class Filter:
    """Which passages a search may find. A field that is None or empty sets no condition; all others must hold.

    Attributes:
        source: Documents of this source, as reports name it.
        documents: Documents of any of these names: a path (absolute, or within its source), a file's name, a folder,
            or a glob pattern.
        since: Documents of this day or later. The day of a document is that of its last change or its creation by its
            metadata, else that of its file.
        until: Documents of this day or earlier.
        pages: First and last page, counted from 1; a passage has to stand on one of them at least.
        title: Documents whose title holds this, in any case and spelling.
        author: Documents whose author holds this.

    Raises:
        ConfigurationError: The days or the pages are the wrong way round.
    """

    source: str | None = None
    documents: tuple[str, ...] = ()
    since: date | None = None
    until: date | None = None
    pages: tuple[int, int] | None = None
    title: str = ""
    author: str = ""

    def __post_init__(self) -> None:
        # A `datetime` is a `date` too, and Python does not compare the two.
        for name in ("since", "until"):
            if isinstance(day := getattr(self, name), datetime):
                object.__setattr__(self, name, day.date())
        if self.since is not None and self.until is not None and self.since > self.until:
            raise ConfigurationError(
                f"No day is from {self.since} on and up to {self.until}.",
                state=STATE,
                remedy="Give the earlier day first.",
            )
        if self.pages is not None and not 1 <= self.pages[0] <= self.pages[1]:
            raise ConfigurationError(
                f"There are no pages from {self.pages[0]} to {self.pages[1]}.",
                state=STATE,
                remedy="Give the first page, counted from 1, and the last one.",
            )

    def condition(self, manifest: Callable[[], Sequence[Document]]) -> str:
        """Return the filter as SQL over the chunk table; empty if it lets all through.

        Args:
            manifest: Gives the table's documents; called only where the filter is about documents.

        Raises:
            ConfigurationError: No document fits.
        """
        parts = []
        if self != Filter(pages=self.pages):
            rows = manifest()
            found = self.documents_of(rows)
            fitting = [row.doc_id for row in found if row.chunks]
            # Without this the search would find nothing, and the user would not know why.
            if found and not fitting:
                raise ConfigurationError(
                    f"{found[0].path!r} has no passages in the table: {found[0].reason or found[0].status}.",
                    state=STATE,
                    remedy=found[0].remedy,
                )
            # A condition that lets all through would only make the search slower.
            if len(fitting) < sum(row.chunks > 0 for row in rows):
                parts.append(one_of("doc_id", fitting))
        if self.pages is not None:
            first, last = (min(int(page), LAST_PAGE) for page in self.pages)
            parts.append(f"page_to >= {first} AND page_from <= {last}")
        return " AND ".join(f"({part})" for part in parts)

    def documents_of(self, rows: Sequence[Document]) -> Sequence[Document]:
        """Return the documents that the filter lets through, those without passages among them.

        Raises:
            ConfigurationError: A name of the filter fits none.
        """
        if self.source is not None:
            known = sorted({row.source for row in rows})
            if not (rows := of_source(self.source, rows)):
                raise _unknown("source", self.source, known)
        if self.documents:
            rows = list({row.doc_id: row for name in self.documents for row in named(name, rows)}.values())
        # A part is enough, because titles in metadata are often longer or shorter than those that people know.
        for field in ("title", "author"):
            if wanted := folded(getattr(self, field)).strip():
                known = [str(getattr(row, field)) for row in rows]
                rows = [row for row in rows if wanted in folded(getattr(row, field))]
                if not rows:
                    raise _unknown(field, getattr(self, field), known)
        if self.since is not None or self.until is not None:
            rows = self._dated(rows)
        return rows

    def _dated(self, rows: Sequence[Document]) -> Sequence[Document]:
        first, last = self.since or date.min, self.until or date.max
        fitting = [row for row in rows if first <= day_of(row) <= last]
        if rows and not fitting:
            days = sorted(map(day_of, rows))
            since = f"from {self.since} on" if self.since else ""
            until = f"up to {self.until}" if self.until else ""
            span = " and ".join(filter(None, (since, until)))
            raise ConfigurationError(
                f"No document is dated {span}.",
                state=STATE,
                remedy=f"Their days are {days[0]} to {days[-1]}.",
            )
        return fitting


def day_of(document: Document) -> date:
    """Return the day of a document: of its last change or its creation by its metadata, else of its file (in UTC)."""
    known = document.modified or document.created
    return known.date() if known else datetime.fromtimestamp(document.mtime_ns / 1e9, UTC).date()


def named(name: str, rows: Sequence[Document]) -> Sequence[Document]:
    """Return the documents that a name means: a file's name, a path, a folder, or a glob pattern.

    Raises:
        ConfigurationError: No name matches; the error suggests the most similar names.
    """
    # The name of a file is the most frequent use, and is found without asking the disk.
    for form in (str, composed):
        if found := [row for row in rows if form(PurePath(row.path).name) == form(name)]:
            return found
    try:
        return documents_named([name], rows)
    except ConfigurationError:
        names = [each for row in rows for each in (row.path, PurePath(row.path).name, *_folders(row))]
        raise _unknown("document, folder or pattern", name, names) from None


def _folders(row: Document) -> Iterable[str]:
    return (str(each) for each in PurePath(row.path).parents if str(each) != ".")


def _unknown(what: str, name: str, known: Iterable[str]) -> ConfigurationError:
    nearest = nearest_names(name, known)
    return ConfigurationError(
        f"The table has no {what} {name!r}.",
        state=STATE,
        remedy=f"The nearest: {', '.join(map(repr, nearest))}."
        if nearest
        else "`prefect-ollama documents` lists what it has.",
    )


def nearest_names(name: str, known: Iterable[str]) -> list[str]:
    """Return the names that are most similar to a name, the most similar first, without regard to case and accents."""
    by_form = {folded(each): each for each in list(dict.fromkeys(known))[:MAX_COMPARED_NAMES] if each}
    wanted = folded(name)
    inside = [each for form, each in by_form.items() if wanted and wanted in form]
    # `difflib` finds misspelled names, and the list before it names that hold a part.
    close = [by_form[form] for form in get_close_matches(wanted, list(by_form), MAX_SUGGESTIONS, cutoff=0.5)]
    return list(dict.fromkeys([*close, *sorted(inside, key=len)]))[:MAX_SUGGESTIONS]


def one_document(name: str, manifest: Sequence[Document]) -> Document:
    """Return the one document that a name means.

    Raises:
        ConfigurationError: No document or several documents match; the error names the most similar names, or all
            matches.
    """
    found = named(name, manifest)
    # A guess might be the wrong document, and the user would not notice.
    if len(found) > 1:
        listed = ", ".join(repr(str(file_of(row))) for row in found[:5])
        more = f" and {len(found) - 5} more" if len(found) > 5 else ""
        raise ConfigurationError(
            f"{name!r} names {len(found)} documents.",
            state="Nothing was read.",
            remedy=f"Name one of them: {listed}{more}.",
        )
    return found[0]


def described(row: Document) -> dict[str, Any]:
    """Return a document as plain values, with the day that filters go by and the place of its file."""
    return {**asdict(row), "file": location_of(row), "day": day_of(row)}


def file_named(name: str, manifest: Sequence[Document]) -> Path:
    """Return the file that a name means: that of a document of the table, or any other by its path.

    Raises:
        ConfigurationError: There is no such document and no such file.
    """
    try:
        row = one_document(name, manifest)
    except ConfigurationError:
        if (file := with_home(name)).is_file():
            return file
        raise
    return file_of(row)
