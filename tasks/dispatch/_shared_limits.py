"""Limits that all runs on this machine share, so that together they send a node no more requests than one run would.

Guarantees: all runs that share a folder have at most one bulk request of a kind more in flight at a node than it serves
at once, or one for each run if there are more runs. Requests of all kinds together keep to the node's limit, and
questions get a slot before bulk work does. The run with the fewest requests there is next, and among those the one that
has waited longest. One run alone measures how many requests a node serves at once, and all later runs know the result.
A killed run blocks no other run. Without a usable folder, or without file locks, a run shares limits only within its
process.
"""

from __future__ import annotations

import json
import logging
import os
import time
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from prefect_ollama.blocks.errors import FolderNotPrivate
from prefect_ollama.blocks.private_files import open_private, private_folder
from prefect_ollama.tasks.dispatch._locked_file import CAN_LOCK, LockedFile, read_locked, try_lock, unlock
from prefect_ollama.tasks.dispatch._usage import Usage

logger = logging.getLogger(__name__)

# Names in the folder: the lock, the measured slots, and the suffix of each run's own file. Earlier versions use the
# same names, and runs of both versions may share a folder.
LOCK_FILE, SLOTS, SUFFIX = "gate", "slots.json", ".user"

# Seconds to wait for the lock before going on without it. Each run holds the lock for some microseconds, so a longer
# wait means that its holder was stopped, and all runs would wait for this holder.
LOCK_TIMEOUT_S = 0.1


@dataclass(frozen=True, slots=True)
class Slot:
    """The answer to a request for a slot.

    Attributes:
        others: Requests that other runs have in flight there.
        slots: How many requests the node serves at once; None if no run has measured it.
    """

    taken: bool
    others: int = 0
    slots: int | None = None


class SharedLimits:
    """The usage of nodes by all runs that share a folder, seen from one of them; for one thread.

    Args:
        folder: The shared folder; None for a run that shares limits only with those in `beside`.
        kind: Kind of request, which has slots of its own at a node; empty for embedding.
        beside: The shared limits of the same thread. The new one is added.
    """

    def __init__(self, folder: Path | None, kind: str = "", beside: list[SharedLimits] | None = None) -> None:
        self._kind = kind
        self._beside = [] if beside is None else beside
        self._beside.append(self)
        self._folder = folder
        # Only nodes with a request in flight or waiting are in it, so the files stay short.
        self._mine: dict[str, Usage] = {}
        self._lock = -1
        self._file: LockedFile | None = None
        if folder is None or not CAN_LOCK:
            self._folder = None
            return
        try:
            private_folder(folder)
            self._lock = open_private(folder / LOCK_FILE)
            self._file = LockedFile(folder, SUFFIX, {})
        except (OSError, FolderNotPrivate) as error:
            self._do_without(error)

    @property
    def folder(self) -> Path | None:
        """The shared folder; None if nothing is shared."""
        return self._folder

    def slots(self, url: str) -> int | None:
        """Return how many requests of its kind a node serves at once; None if no run has measured it."""
        return self._slots().get(self._key(url))

    def take(self, url: str, most: int, *, urgent: bool = False) -> Slot:
        """Take a slot for a request at a node. If no slot is free, note that this run waits for one.

        Args:
            most: Requests of all runs and kinds in flight there at most.
            urgent: Whether it goes before all bulk work.
        """
        key = self._key(url)
        with self._locked() as seen:
            usage = self._mine.setdefault(key, Usage())
            usage.urgent = urgent
            there, now = self._others(url, seen=seen), time.monotonic()
            slots = self._slots().get(key) if seen else None
            same = [other for name, other in there if name == key]
            every = [other for _, other in there]
            taken = not (there or seen) or usage.may_take(same, every, slots, most, now)
            if taken:
                usage.held, usage.asks = usage.held + 1, None
            elif usage.asks is None:
                usage.asks = now
            return Slot(taken, sum(other.held for other in every), slots)

    def release(self, url: str, found: int | None) -> None:
        """Release a slot; `found` says how many requests the node serves at once, if that was just measured."""
        key = self._key(url)
        with self._locked() as seen:
            self._mine[key].held -= 1
            if found is not None:
                self._mine[key].finds = False
                if seen:
                    self._write_slots(self._slots() | {key: found})

    def ask_only(self, urls: Collection[str]) -> None:
        """Keep waiting for slots at these nodes only, because there is no work for others."""
        keys = {self._key(url) for url in urls}
        if dropped := [
            usage for key, usage in self._mine.items() if usage.asks is not None and key not in keys
        ]:
            with self._locked():
                for usage in dropped:
                    usage.asks = None

    def others(self, url: str) -> int:
        """Return the requests that other runs have in flight at a node now."""
        with self._locked() as seen:
            return sum(other.held for _, other in self._others(url, seen=seen))

    def close(self) -> None:
        """Remove this run's file, and release its locks."""
        if self in self._beside:
            self._beside.remove(self)
        self._folder = None
        self._close_files()

    def _key(self, url: str) -> str:
        """Return the key of a node's usage by this kind of request."""
        # No URL of a node has a fragment, so the keys of different kinds never collide.
        return f"{url}#{self._kind}" if self._kind else url

    @contextmanager
    def _locked(self) -> Iterator[bool]:
        """Hold the lock if possible, and write what changed at the end; yield whether it is held."""
        seen = self._enter()
        try:
            yield seen
        finally:
            self._mine = {
                url: usage for url, usage in self._mine.items() if usage.held or usage.asks is not None
            }
            if seen:
                try:
                    self._leave()
                except OSError as error:
                    self._do_without(error)

    def _enter(self) -> bool:
        deadline = time.monotonic() + LOCK_TIMEOUT_S
        while self._folder is not None:
            try:
                if try_lock(self._lock):
                    return True
            except OSError as error:
                self._do_without(error)
                break
            if time.monotonic() > deadline:
                break
            time.sleep(0.0005)
        return False

    def _leave(self) -> None:
        if self._file is not None:
            self._file.write({key: usage.word() for key, usage in self._mine.items()})
            unlock(self._lock)

    def _others(self, url: str, *, seen: bool) -> list[tuple[str, Usage]]:
        """Return the usage of a node by all other runs and kinds, and remove files of runs that died.

        Args:
            seen: Whether the folder can be read. Its files also have the usage by other kinds of this thread.
        """
        found: list[tuple[str, Usage]] = []
        if not seen:
            mine = (other._mine for other in self._beside if other is not self)
            return [(key, usage) for each in mine for key, usage in each.items() if _is_at(key, url)]
        for usages in () if self._folder is None else read_locked(self._folder, SUFFIX, self._file):
            with suppress(AttributeError, TypeError):  # written by a version that we do not know
                found += [(key, Usage(*usage)) for key, usage in usages.items() if _is_at(key, url)]
        return found

    def _slots(self) -> dict[str, int]:
        if self._folder is not None:
            with suppress(OSError, ValueError):
                known = json.loads((self._folder / SLOTS).read_bytes())
                return {url: slots for url, slots in known.items() if isinstance(slots, int) and slots > 0}
        return {}

    def _write_slots(self, slots: dict[str, int]) -> None:
        if self._folder is not None and self._file is not None and slots != self._slots():
            # Written beside and renamed, so that readers without the lock never see half of it.
            with suppress(OSError):
                self._file.unseen.write_text(json.dumps(slots))
                self._file.unseen.replace(self._folder / SLOTS)

    def _do_without(self, error: Exception) -> None:
        logger.warning(
            "Runs that share nodes do not see each other: the folder %s fails (%s).", self._folder, error
        )
        self._folder = None
        self._close_files()

    def _close_files(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1


def _is_at(key: str, url: str) -> bool:
    return key.partition("#")[0] == url
