"""The folder of a cache: files appear whole, under names that no other file ever had, and are never changed.

A file is written under a temporary name, brought to disk, and renamed. So a reader sees all of it or nothing,
a killed writer leaves a temporary file at most, and no lock is needed, which a folder that hosts share may not
have. All that concurrent clean-up can do is to remove a file twice.

A segment has a checksum and no key, so what another user wrote would be believed. The folder is closed to others, one
that belongs to another user is refused, and of files only those count that this user or root wrote.
"""

from __future__ import annotations

import errno
import logging
import os
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from prefect_ollama.blocks.cache import segment
from prefect_ollama.blocks.cache.keys import Keys
from prefect_ollama.blocks.cache.segment import Rows
from prefect_ollama.blocks.cache.spec import CacheSpec, CacheStats
from prefect_ollama.blocks.errors import CacheError, FolderNotPrivate
from prefect_ollama.blocks.private import is_ours, private_folder

logger = logging.getLogger(__name__)

TEMPORARY: Final = ".tmp"
DAMAGED: Final = ".damaged"
TEMPORARY_AGE: Final = 3600.0
DAMAGED_AGE: Final = 7 * 24 * 3600.0
ATTEMPTS: Final = 4


def is_gone(error: OSError) -> bool:
    """Whether the file is not there any more; ESTALE is NFS's word for it."""
    return error.errno in (errno.ENOENT, errno.ESTALE)


@dataclass(frozen=True, slots=True)
class Listing:
    """Names in the folder at one moment.

    Attributes:
        segments: Of segments.
        damaged: Of segments set aside.
        temporary: Of files being written, or left by killed writers.
    """

    segments: tuple[str, ...]
    damaged: tuple[str, ...]
    temporary: tuple[str, ...]

    @property
    def bytes(self) -> int:
        """Size of segments and damaged files, by their names."""
        names = [*self.segments, *(name.removesuffix(DAMAGED) for name in self.damaged)]
        return sum(segment.size(*(segment.shape(name) or (0, 0))) for name in names)


class Folder:
    """What is done with the files of one cache."""

    def __init__(self, spec: CacheSpec) -> None:
        self.spec = spec
        self._path = Path(spec.folder)
        self._checked = False

    def path(self, name: str) -> Path:
        """Return the path of a file."""
        return self._path / name

    def error(self, doing: str, error: OSError) -> CacheError:
        """Return the error to raise where the folder does not do what was asked."""
        return CacheError(
            f"{doing} failed: {error.strerror or error}.",
            folder=self.spec.folder,
            state="What it holds is whole; vectors that it does not hold are embedded again.",
            remedy="Look at the folder's permissions, its free space and, where it is mounted, its server.",
        )

    def listing(self) -> Listing:
        """Return what is there now; nothing where the folder does not exist yet.

        Raises:
            CacheError: The folder cannot be read.
        """
        names = self.ours(lambda name: segment.shape(_plain(name)) is not None)

        def those(suffix: str) -> tuple[str, ...]:
            return tuple(
                name
                for name in names
                if name.endswith(suffix) and segment.shape(name.removesuffix(suffix)) is not None
            )

        return Listing(those(""), those(DAMAGED), those(TEMPORARY))

    def ours(self, wanted: Callable[[str], bool]) -> list[str]:
        """Return the names of files that no other user put there; none where the folder does not exist yet.

        Args:
            wanted: Whether a file counts, by its name.

        Raises:
            CacheError: The folder cannot be read.
        """
        try:
            if not self._checked and self._path.exists():
                self._close_to_others()
            with os.scandir(self._path) as entries:
                return [entry.name for entry in entries if wanted(entry.name) and _is_entry_ours(entry)]
        except OSError as error:
            if not is_gone(error):
                raise self.error("listing it", error) from error
            return []

    def publish(
        self, keys: Keys, rows: Rows, *, replaces: Iterable[str] = (), used: int | None = None
    ) -> str:
        """Bring a new segment to disk and return its name; it is there for all and for good.

        Args:
            keys: Its keys.
            rows: Its rows.
            replaces: Names of segments it is made of: where one is gone by now, it is not published.
            used: When these rows were last used, in ns since the epoch; None for now.

        Raises:
            FileNotFoundError: A segment that it replaces is gone.
            CacheError: It cannot be written.
        """
        for attempt in range(ATTEMPTS):
            name = segment.new_name(len(keys), rows.dtype["vector"].shape[0])
            temporary = self.path(name + TEMPORARY)
            try:
                with temporary.open("xb") as file:
                    segment.write(file, keys, rows)
                    file.flush()
                    os.fsync(file.fileno())
            except OSError as error:
                with suppress(OSError):
                    temporary.unlink()
                if not is_gone(error) or attempt == ATTEMPTS - 1:
                    raise self.error("writing to it", error) from error
                self.make()
                continue
            except BaseException:
                temporary.unlink(missing_ok=True)
                raise
            try:
                if used is not None:
                    os.utime(temporary, ns=(used, used))
                for replaced in replaces:
                    # Opened, because that alone makes an NFS client ask its server.
                    self.path(replaced).open("rb", buffering=0).close()
            except OSError:
                with suppress(OSError):
                    temporary.unlink()
                raise
            try:
                temporary.rename(self.path(name))
            except OSError as error:
                # Someone emptied the cache, or this host slept so long that the file looked abandoned.
                if not is_gone(error) or attempt == ATTEMPTS - 1:
                    raise self.error("writing to it", error) from error
                continue
            self._sync()
            return name
        raise AssertionError("unreachable")

    def make(self) -> None:
        """Make the folder, and close it to other users.

        Raises:
            CacheError: It cannot be made, or others keep their rights.
        """
        try:
            self._close_to_others()
        except OSError as error:
            raise self.error("making it", error) from error

    def _close_to_others(self) -> None:
        try:
            private_folder(self._path)
        except FolderNotPrivate as error:
            raise CacheError(
                f"it cannot be used: {error.cause}",
                folder=self.spec.folder,
                state="No vector of it is believed; all are embedded again.",
                remedy=error.remedy,
            ) from error
        self._checked = True

    def _sync(self) -> None:
        # Some file systems (and Windows) refuse to sync a folder; there the rename is theirs to keep.
        with suppress(OSError):
            folder = os.open(self._path, os.O_RDONLY)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)

    def remove(self, names: Iterable[str]) -> None:
        """Remove files; those that others removed are no error.

        Raises:
            CacheError: One cannot be removed.
        """
        for name in names:
            try:
                self.path(name).unlink()
            except OSError as error:
                if not is_gone(error):
                    raise self.error(f"removing {name!r}", error) from error

    def modified(self, names: Iterable[str]) -> dict[str, int]:
        """Return when each file was last written or marked as used, in ns; files that are gone are left out."""
        times = {}
        for name in names:
            with suppress(OSError):
                times[name] = self.path(name).stat().st_mtime_ns
        return times

    def mark_used(self, name: str) -> None:
        """Note that a segment was used now, which keeps it from being removed first."""
        # A cache that may only be read is of use too.
        with suppress(OSError):
            os.utime(self.path(name))

    def set_aside(self, damage: segment.DamagedError) -> str | None:
        """Take a damaged segment out of use, and publish what is sound of it as a new segment.

        Returns:
            Name of the new segment; None where nothing was sound or another process was first.
        """
        name = damage.name
        aside = self.path(name + DAMAGED)
        try:
            # Of several processes that find the damage, the rename lets one go on.
            self.path(name).rename(aside)
        except OSError as error:
            if not is_gone(error):
                logger.warning("%s is damaged (%s) and stays there: %s.", self.path(name), damage, error)
            return None
        total = (segment.shape(name) or (0, 0))[0]
        rescued = None
        count = 0
        try:
            keys, rows = segment.salvage(aside, name)
            count = len(keys)
            if count:
                rescued = self.publish(keys, rows)
        except (segment.DamagedError, OSError, CacheError) as error:
            count = 0
            logger.debug("nothing of %s was rescued: %s", aside, error)
        logger.warning(
            "A segment of the vector cache is damaged: %s. It was set aside as %s; %d of its %d vectors were "
            "kept, the others count as missing.",
            damage,
            aside,
            count,
            total,
        )
        return rescued

    def keep_to_limit(self, listing: Listing) -> list[str]:
        """Remove the least recently used segments until the limit holds, damaged files first.

        Returns:
            Names of what was removed.

        Raises:
            CacheError: A file cannot be removed.
        """
        excess = listing.bytes - self.spec.limit_bytes
        if excess <= 0:
            return []
        used = self.modified([*listing.segments, *listing.damaged])
        removed = []
        for name in sorted(used, key=lambda each: (not each.endswith(DAMAGED), used[each], each)):
            excess -= segment.size(*(segment.shape(name.removesuffix(DAMAGED)) or (0, 0)))
            removed.append(name)
            if excess <= 0:
                break
        self.remove(removed)
        logger.info("%d files left the vector cache %s, which was full.", len(removed), self._path)
        return removed

    def sweep(self, listing: Listing, written: str) -> None:
        """Remove what killed writers left an hour ago or more, and damaged files after a week.

        Args:
            listing: What is there.
            written: Name of a file written just now, which tells the time by the folder's own clock.
        """
        now = self.modified([written]).get(written, 0)
        left = self.modified([*listing.temporary, *listing.damaged])
        self.remove(
            name
            for name, written in left.items()
            if now - written > 1e9 * (DAMAGED_AGE if name.endswith(DAMAGED) else TEMPORARY_AGE)
        )

    def stats(self) -> CacheStats:
        """Return what is there now.

        Raises:
            CacheError: The folder cannot be read.
        """
        listing = self.listing()
        used = self.modified(listing.segments).values()
        return CacheStats(
            folder=self.spec.folder,
            entries=sum((segment.shape(name) or (0, 0))[0] for name in listing.segments),
            bytes=listing.bytes,
            limit_bytes=self.spec.limit_bytes,
            segments=len(listing.segments),
            damaged=len(listing.damaged),
            oldest=datetime.fromtimestamp(min(used) / 1e9, UTC) if used else None,
            newest=datetime.fromtimestamp(max(used) / 1e9, UTC) if used else None,
        )


def _plain(name: str) -> str:
    return name.removesuffix(TEMPORARY).removesuffix(DAMAGED)


def _is_entry_ours(entry: os.DirEntry[str]) -> bool:
    try:
        return is_ours(entry.stat(follow_symlinks=False))
    except OSError:
        return False  # it is gone
