"""Paths with `~` for a home folder."""

from __future__ import annotations

from pathlib import Path


def with_home(path: str | Path) -> Path:
    """Return a path with the home folder for `~` or `~user`; unchanged if that user is unknown, as in a shell."""
    try:
        return Path(path).expanduser()
    except RuntimeError:
        return Path(path)
