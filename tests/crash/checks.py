"""What must hold after a kill: right away, and when the same call has ended well."""

from __future__ import annotations

import contextlib
import time
from dataclasses import dataclass, field
from datetime import timedelta

import lancedb
from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.filters import FlowRunFilter, TaskRunFilter
from prefect.client.schemas.objects import TERMINAL_STATES, StateType
from prefect.client.schemas.sorting import FlowRunSort, TaskRunSort

from prefect_ollama.blocks.lance import StoreSpec
from prefect_ollama.blocks.lance.maintenance import TEMPORARY, delete_left_over_files
from prefect_ollama.blocks.nodes.canaries import CANARIES, SCRIPT_TEXTS
from prefect_ollama.tasks.chunking import gauge_texts
from tests.crash.world import Undisturbed, World
from tests.flow_samples import PREFIX
from tests.nodes import text_hash

WINDOW = 6.0
"""Seconds before a kill: what nodes answered then, or had in service, may have to be done again."""

RECORDED = 60.0
"""Seconds in which the server must know how all ended."""


@dataclass(kw_only=True)
class Outcome:
    """The cost of kills, and the guarantees that did not hold.

    Attributes:
        redone: Texts that nodes did again that they had done before a kill.
        allowed: How many that may be: those of the last `WINDOW` seconds before each.
        faults: What did not hold.
    """

    redone: int = 0
    allowed: int = 0
    faults: list[str] = field(default_factory=list)

    def killed(self, world: World, before: dict[str, int]) -> dict[str, int]:
        """Note what holds after a kill, and return how often each text was embedded by now, as for the next one."""
        now = self._count(world, before)
        self.allowed += answered_lately(world)
        self.faults += half_documents(world)
        return now

    def ended(self, world: World, undisturbed: Undisturbed, before: dict[str, int]) -> None:
        """Note what holds when the last call has ended well."""
        self._count(world, before)
        if self.redone > self.allowed:
            self.faults.append(f"{self.redone} texts were embedded again, {self.allowed} were under way")
        self.faults += differences(world, undisturbed)

    def _count(self, world: World, before: dict[str, int]) -> dict[str, int]:
        now = served(world)
        self.redone += sum(now[text] - count for text, count in before.items())
        return now


_CANARIES = {
    text_hash(prefix + canary) for canary in (*CANARIES, *SCRIPT_TEXTS) for prefix in ("", PREFIX)
} | {text_hash(text) for text in gauge_texts()}


def served(world: World) -> dict[str, int]:
    """How often nodes answered each text of a document, by its hash."""
    return {text: count for text, count in world.served().items() if text not in _CANARIES}


def answered_lately(world: World) -> int:
    """Texts that nodes had in service within the last `WINDOW` seconds."""
    now = time.monotonic()
    return sum(
        texts for node in world.nodes for _, _, end, texts in node.stats()["busy"] if end > now - WINDOW
    )


def half_documents(world: World) -> list[str]:
    """Documents that are not whole, of one content and from the first chunk to the last, a fault each."""
    faults: list[str] = []
    if not (world.place / "documents.lance").exists():
        return faults
    with contextlib.suppress(ValueError):  # it was being made
        table = lancedb.connect(str(world.place)).open_table("documents")
        rows = table.search().where("doc_id != ''").select(["doc_id", "content_hash", "position"]).to_list()
        places: dict[str, list[int]] = {}
        contents: dict[str, set[str]] = {}
        for row in rows:
            places.setdefault(row["doc_id"], []).append(row["position"])
            contents.setdefault(row["doc_id"], set()).add(row["content_hash"])
        for doc_id, found in places.items():
            if sorted(found) != list(range(len(found))) or len(contents[doc_id]) != 1:
                faults.append(f"after the kill, document {doc_id} was not whole")
    return faults


def differences(world: World, undisturbed: Undisturbed) -> list[str]:
    """What is not as after a run that nobody disturbed, a fault each."""
    faults = []
    for name, found, expected in zip(
        ("chunks", "documents"), world.rows(), (undisturbed.chunks, undisturbed.documents), strict=True
    ):
        if found != expected:
            missing, more = set(expected) - set(found), set(found) - set(expected)
            faults.append(
                f"{len(missing)} rows of {name} are missing, {len(more)} should not be there, of {len(expected)}: "
                f"{[dict(row).get('path') for row in [*missing, *more]][:4]}"
            )
    left = unended(world)
    if left:
        faults.append(f"in Prefect these have not ended: {left}")
    delete_left_over_files(StoreSpec(str(world.place), "documents"), timedelta(0))
    files = [str(path) for path in world.place.rglob("*") if TEMPORARY.search(path.name)]
    if files:
        faults.append(f"left-over files: {files}")
    deadline = time.monotonic() + 30
    while (alive := world.processes()) and time.monotonic() < deadline:
        time.sleep(0.1)
    if alive:
        faults.append(f"left-over processes: {[' '.join(each.cmdline())[:80] for each in alive]}")
    return faults


def unended(world: World) -> list[str]:
    """Flow runs and task runs that the server shows as unended, once it had time to write down all."""
    going = {"state": {"type": {"any_": [kind for kind in StateType if kind not in TERMINAL_STATES]}}}
    deadline = time.monotonic() + RECORDED
    with SyncPrefectClient(world.server.url) as client:
        while True:
            left = [
                f"{type(run).__name__} {run.name!r} {run.state_name} {run.id}"
                for run in (
                    *client.read_flow_runs(
                        flow_run_filter=FlowRunFilter.model_validate(going),
                        sort=FlowRunSort.ID_DESC,
                        limit=200,
                    ),
                    *client.read_task_runs(
                        task_run_filter=TaskRunFilter.model_validate(going),
                        sort=TaskRunSort.ID_DESC,
                        limit=200,
                    ),
                )
            ]
            if not left or time.monotonic() > deadline:
                return left
            time.sleep(0.5)
