"""The metadata of a file: title, author and dates. Invalid values are ignored."""

import re
from datetime import UTC, datetime, timedelta, timezone
from typing import Final

from prefect_ollama.tasks.parsing._invisible import visible
from prefect_ollama.tasks.parsing.document import Metadata

# PDF 32000-1, 7.9.4: D:YYYYMMDDHHmmSSOHH'mm', everything after the year optional.
_DATE: Final = re.compile(
    r"(?:D:)?(\d{4})(\d\d)?(\d\d)?(\d\d)?(\d\d)?(\d\d)?(?:([+\-Z])(\d\d)?'?(\d\d)?)?", re.ASCII
)
# Characters of a title or an author. Some programs put the whole text of the document into the title.
_MAX_CHARACTERS: Final = 500
# Line breaks and tabs are not printable, but separate words.
_BREAKS: Final = dict.fromkeys((*range(9, 14), 0x85, 0x2028, 0x2029), " ")
# `visible` keeps them only where a script needs them.
_JOINERS: Final = "\u200b\u200c\u200d"


def read_metadata(raw: dict[str, str]) -> Metadata:
    """Make metadata of the file's own strings; what cannot be understood is left out."""
    return Metadata(
        title=_clean(raw.get("title", "")),
        author=_clean(raw.get("author", "")),
        created=read_date(raw.get("creationDate", "")),
        modified=read_date(raw.get("modDate", "")),
    )


def read_date(text: str) -> datetime | None:
    """Return a PDF date in UTC; one without a time zone is taken as UTC. None if it is no date."""
    match = _DATE.match(text.strip())
    if match is None:
        return None
    numbers = [
        int(part) if part else default
        for part, default in zip(match.groups()[:6], (0, 1, 1, 0, 0, 0), strict=True)
    ]
    sign, hours, minutes = match.groups()[6:]
    try:
        zone = UTC
        if sign in ("+", "-"):
            offset = timedelta(hours=int(hours or 0), minutes=int(minutes or 0))
            zone = timezone(offset if sign == "+" else -offset)
        # In UTC, as the table has it: a date of the year 1 or 9999 may be none there, and no row with it can be read.
        return datetime(*numbers, tzinfo=zone).astimezone(UTC)  # type: ignore[misc,arg-type]
    except (ValueError, OverflowError):
        return None


def _clean(text: str) -> str:
    shown = visible(text.translate(_BREAKS)[:_MAX_CHARACTERS])
    return " ".join("".join(c if c.isprintable() or c in _JOINERS else " " for c in shown).split())
