"""The models whose vectors a cache holds. Each model has an id, which is part of the keys of its vectors.

Equal weights give vectors that differ in the last digits on a CPU and on a GPU, so an id cannot be computed from
vectors. The first process that uses a model writes its fingerprint into the folder, and processes whose nodes give the
same vectors use its id. Nothing is locked. If two processes write one model at the same moment, all use the earlier id
from then on, and vectors under the other id are embedded again. A file is created in one step, complete, and is never
changed. A file that cannot be read counts as missing.
"""

from __future__ import annotations

import json
import logging
import os
import re
import time
from contextlib import suppress
from dataclasses import dataclass, replace
from secrets import token_hex
from typing import Final

from prefect_ollama.blocks.cache._folder import TEMPORARY, TEMPORARY_AGE_S, Folder
from prefect_ollama.blocks.nodes import Fingerprint, compare

logger = logging.getLogger(__name__)

# The id of the model, then a random part: two processes that write one model must not write one file.
_NAME: Final = re.compile(r"[0-9a-f]{16}-[0-9a-f]{8}\.model")
_HALF_WRITTEN: Final = re.compile(rf"{_NAME.pattern}{re.escape(TEMPORARY)}")


@dataclass(frozen=True, slots=True)
class _Known:
    """One known model: its file, when it was written (ns since the epoch), and its fingerprint."""

    name: str
    time_ns: int
    fingerprint: Fingerprint


class Models:
    """The known models of one folder."""

    def __init__(self, folder: Folder) -> None:
        self._folder = folder
        self._read: dict[str, _Known | None] = {}
        self._found: dict[tuple[str, str], _Known] = {}

    def id_of(self, fingerprint: Fingerprint) -> str:
        """Return the id under which the cache keeps this model's vectors, and make it known if it is new.

        `CacheError` if the folder cannot be read, or the model is new and cannot be written.
        """
        # Nodes that give a table's vectors in all but some scripts go by the table's id, and are other models here.
        key = fingerprint.id, fingerprint.measured_id
        known = self._found.get(key)
        if known is None or not self._folder.path(known.name).exists():
            # If the folder was emptied meanwhile, this process keeps its id: tasks in flight already use it.
            made = fingerprint if known is None else known.fingerprint
            known = self._find(fingerprint)
            if known is None:
                taken = {each.fingerprint.id for each in self._here()}
                self._write(replace(made, id=token_hex(8)) if made.id in taken else made)
                # Another process may have written the model since; all must use the same id.
                known = self._find(fingerprint)
            if known is None:
                raise self._folder.error("reading what was written", OSError("it is gone"))
            self._found[key] = known
        return known.fingerprint.id

    def _find(self, fingerprint: Fingerprint) -> _Known | None:
        """Return the earliest known model with these vectors."""
        return next((known for known in self._here() if _same(fingerprint, known.fingerprint)), None)

    def _here(self) -> list[_Known]:
        """Return the models whose files are in the folder, the earliest first."""
        names = self._folder.ours(_NAME)
        for name in names.keys() - self._read.keys():
            self._read[name] = self._load(name)
        here = [known for name, known in self._read.items() if known is not None and name in names]
        return sorted(here, key=lambda known: (known.time_ns, known.name))

    def _load(self, name: str) -> _Known | None:
        try:
            values = json.loads(self._folder.path(name).read_bytes())
            fingerprint = Fingerprint.from_json(json.dumps(values["fingerprint"]))
            return _Known(name, int(values["time_ns"]), fingerprint)
        except (OSError, ValueError, KeyError, TypeError) as error:
            logger.warning("%s cannot be read and counts as missing: %s.", self._folder.path(name), error)
            return None

    def _write(self, fingerprint: Fingerprint) -> None:
        name = f"{fingerprint.id}-{token_hex(4)}.model"
        text = json.dumps({"time_ns": time.time_ns(), "fingerprint": json.loads(fingerprint.to_json())})
        temporary = self._folder.path(f"{name}{TEMPORARY}")
        self._folder.make()
        # What killed writers left.
        self._folder.sweep(_HALF_WRITTEN, TEMPORARY_AGE_S)
        try:
            with temporary.open("x", encoding="utf-8") as file:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
            temporary.rename(self._folder.path(name))
        except OSError as error:
            with suppress(OSError):
                temporary.unlink()
            raise self._folder.error("writing to it", error) from error


def _same(one: Fingerprint, other: Fingerprint) -> bool:
    """Return whether two models agree in all scripts: the cache does not know the script of a text."""
    compared = compare(one, other)
    return compared.same and not compared.scripts
