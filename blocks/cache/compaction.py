"""Small segments become larger ones, so that the folder of a cache holds some hundred files and not millions.

Segments of about the same size are merged when there are eight of them; so a vector is rewritten a few times
at most, however small the writes were. The merged segment is published before those it replaces are removed:
whoever is killed in between leaves doubled entries, and none is ever missing. Two processes that merge the
same segments waste work and lose nothing; a lock that is tried, and not waited for, keeps that rare.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Final

import numpy as np

from prefect_ollama.blocks.cache import segment
from prefect_ollama.blocks.cache.folder import Folder
from prefect_ollama.blocks.cache.keys import Keys
from prefect_ollama.blocks.private import open_private

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

logger = logging.getLogger(__name__)

FAN: Final = 8
LARGEST: Final = 32 * 1024**2
LOCK: Final = "compaction.lock"


def largest_segment(limit: int) -> int:
    """Return the size up to which segments are merged: what leaves a full cache is one of these at a time."""
    return min(LARGEST, limit // 16)


def mergeable(names: Iterable[str], limit: int) -> list[str]:
    """Return those of these segments to be merged into one, or none where there are not enough of a size."""
    largest = largest_segment(limit)
    alike: dict[tuple[int, int], list[tuple[int, str]]] = {}
    for name in names:
        rows, dimension = segment.shape(name) or (0, 0)
        size = segment.size(rows, dimension)
        if 2 * size <= largest:
            # Three bits of length: sizes that differ by less than eight times.
            alike.setdefault((dimension, size.bit_length() // 3), []).append((size, name))
    for group in sorted(alike.values(), key=len, reverse=True):
        if len(group) < FAN:
            break
        chosen: list[str] = []
        room = largest
        for size, name in sorted(group):
            room -= size
            if room < 0:
                break
            chosen.append(name)
        return chosen
    return []


def merge(folder: Folder, names: list[str]) -> tuple[str, Keys] | None:
    """Merge segments into one and remove them.

    Returns:
        Name and keys of the merged segment; None where another process was at it, or one of them is gone.

    Raises:
        DamagedError: One of them is damaged.
        CacheError: The merged one cannot be written.
    """
    with _only_one(folder) as alone:
        if not alone:
            return None
        try:
            all_keys, all_rows = [], []
            for name in names:
                keys = segment.read_keys(folder.path(name))
                rows = segment.read_rows(folder.path(name), range(len(keys)))
                if not segment.sound(keys, rows).all():
                    raise segment.DamagedError(name, "vectors are not what was written")
                all_keys.append(keys)
                all_rows.append(rows)
            keys, first = np.unique(np.concatenate(all_keys), axis=0, return_index=True)
            merged = np.concatenate(all_rows)[np.sort(first)]
            keys = np.concatenate(all_keys)[np.sort(first)]
            used = max(folder.modified(names).values(), default=None)
            name = folder.publish(keys, merged, replaces=names, used=used)
        except OSError as error:
            # Merged, removed or cleared by another process: then there is nothing left to do here.
            logger.debug("segments of %s are not merged: %s", folder.spec.folder, error)
            return None
        folder.remove(names)
        return name, keys


@contextmanager
def _only_one(folder: Folder) -> Iterator[bool]:
    """Whether no other process merges; where the file system has no locks, that is taken for granted."""
    if fcntl is None:
        yield True
        return
    try:
        file = open_private(folder.path(LOCK))
    except OSError:
        yield True
        return
    try:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
            return
        except OSError:
            pass
        yield True
    finally:
        os.close(file)
