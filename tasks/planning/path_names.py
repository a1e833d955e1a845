"""How a table writes sources and paths, and the id of a document, which is made of both."""

from __future__ import annotations

import hashlib
import os
import re
from pathlib import Path

# Source name of files that were named one by one; their path is the absolute one.
LISTED = "files"


# 16 bytes: among a billion documents the chance of one collision is below 10^-20.
def document_id(source: str, path: str) -> str:
    """Key of a document: the same for the same path of the same source."""
    return hashlib.blake2b(f"{source}\0{path}".encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()


# A name that holds such text itself is escaped as well, so that each name in the table is unambiguous.
_LOOKS_ESCAPED = re.compile(r"\\x[0-9a-f]{2}")
# What `readable` writes for bytes that are no UTF-8, and for its own backslash.
_ESCAPES = re.compile(rb"\\\\|\\x[0-9a-f]{2}")
# Surrogates that stand for no byte. No file has them in its name, but a program can ask for such a name.
_NO_BYTE = re.compile("[\ud800-\udc7f\udd00-\udfff]")


def readable(text: str) -> str:
    r"""Return the text with bytes that are no UTF-8, which neither a table nor JSON can hold, written as `\xff`.

    Two texts never become one, since documents are known by them. So where a text needs this, or looks as if it had
    been through it, each of its own backslashes is doubled.
    """
    if _LOOKS_ESCAPED.search(text) or any("\ud800" <= character <= "\udfff" for character in text):
        text = text.replace("\\", "\\\\")
    text = _NO_BYTE.sub(lambda found: os.fsdecode(found[0].encode("utf-8", "surrogatepass")), text)
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def unreadable(text: str) -> str:
    """Return the text that `readable` was given: bytes that are no UTF-8 as lone surrogates."""
    if not _LOOKS_ESCAPED.search(text):
        return text
    raw = _ESCAPES.sub(lambda found: _unescaped(found[0]), text.encode("utf-8", "surrogateescape"))
    return raw.decode("utf-8", "surrogateescape")


def _unescaped(escape: bytes) -> bytes:
    return b"\\" if escape == b"\\\\" else bytes([int(escape[2:], 16)])


def source_name(folder: Path) -> str:
    """Name of the source that a folder is."""
    return readable(str(folder.resolve()))
