"""Paths as users write them: with `~` for a home folder, or as a `file:` URL."""

import os
import re
from pathlib import Path, PurePath
from urllib.parse import unquote_to_bytes, urlsplit

from prefect_ollama.blocks.errors import ConfigurationError


def with_home(path: str | Path) -> Path:
    """Return a path with the home folder for `~` or `~user`; unchanged if that user is unknown, as in a shell."""
    try:
        return Path(path).expanduser()
    except RuntimeError:
        return Path(path)


# Schemes are not case-sensitive (RFC 3986, 3.1).
_FILE = re.compile("file:", re.IGNORECASE)
# A drive with a path, or a network share.
_WINDOWS = re.compile(r"[A-Za-z]:[\\/]|\\\\")


def is_file_url(text: str) -> bool:
    """Return whether a text is a `file:` URL."""
    return _FILE.match(text) is not None


def folder_of(text: str) -> str:
    """Return the path of a text: that of a `file:` URL decoded, any other text unchanged.

    A URL encodes spaces and other characters with percent signs, and may name this host (RFC 8089).

    Raises:
        ValueError: The URL names another host, has no path or has a query, or the path is one of Windows elsewhere.
    """
    path = text
    if is_file_url(text):
        url = urlsplit(text)
        if url.netloc.lower() not in ("", "localhost"):
            raise ValueError(
                f"{text!r} is on the host {url.netloc!r}; write file:/// and the path on this host"
            )
        if url.query or url.fragment:
            raise ValueError(f"{text!r} has a query or a fragment; write %3F for '?' and %23 for '#'")
        if not url.path.strip("/"):
            raise ValueError(f"{text!r} names no folder")
        path = os.fsdecode(unquote_to_bytes(url.path))
        if "\0" in path:
            raise ValueError(f"{text!r} holds a zero byte")
        if os.name == "nt":
            path = path.lstrip("/")
    if os.name != "nt" and _WINDOWS.match(path.lstrip("/") if is_file_url(text) else path):
        raise ValueError(f"{str(PurePath(path))!r} is a path of Windows; write a path of this host")
    return path


def absolute_place(place: str) -> str:
    """Return the absolute path of a table's folder, or the URL of an object store unchanged.

    Raises:
        ConfigurationError: The URL does not name a folder of this host.
    """
    if "://" in place and not is_file_url(place):
        return place
    try:
        return str(with_home(folder_of(place)).absolute())
    except (ValueError, RuntimeError) as error:
        raise ConfigurationError(
            f"The place of the table cannot be used: {error}.",
            state="Nothing was started.",
            remedy="Give a folder of this host, or an object store's URL.",
        ) from None
