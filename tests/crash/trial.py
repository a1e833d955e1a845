"""One trial: an ingest, a kill, the same call again, and what must hold then."""

from __future__ import annotations

import contextlib
import random
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

import lancedb
import psutil
from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.filters import FlowRunFilter, TaskRunFilter
from prefect.client.schemas.objects import TERMINAL_STATES, StateType
from prefect.client.schemas.sorting import FlowRunSort, TaskRunSort

from prefect_ollama.blocks.lance import StoreSpec
from prefect_ollama.blocks.lance.upkeep import delete_left_over_files
from prefect_ollama.blocks.wire.proof import CANARIES
from tests.crash.world import Call, Undisturbed, World
from tests.flow_samples import PREFIX
from tests.nodes import text_hash

KINDS = ("flow", "parse worker", "embed worker", "server", "everything")

WINDOW = 6.0
"""Seconds before a kill: what nodes answered then, or had in service, may have to be done again."""

CALLS = 3
"""Calls in which an ingest must have ended well, the killed one not counted."""

RECORDED = 60.0
"""Seconds in which the server must know how all ended."""

_CANARIES = {text_hash(prefix + canary) for canary in CANARIES for prefix in ("", PREFIX)}


@dataclass
class Trial:
    """What came of a trial.

    Attributes:
        seed: Gives the same choices again.
        scenario: What the ingest had to do.
        kind: What was killed.
        moment: When, in words.
        hit: Whether the ingest was still under way by then.
        calls: Calls that it took, the first included.
        redone: Texts that nodes did again that they had done before the kill.
        allowed: How many that may be: those of the last `WINDOW` seconds.
        seconds: What the last call took.
        faults: What did not hold.
    """

    seed: int
    scenario: str
    kind: str
    moment: str = ""
    hit: bool = True
    calls: int = 1
    redone: int = 0
    allowed: int = 0
    seconds: float = 0.0
    faults: list[str] = field(default_factory=list)


def trial(world: World, seed: int, *, kind: str, scenario: str) -> Trial:
    """Run one.

    Args:
        world: Where; nothing else may use it meanwhile.
        seed: Of all that is left to chance: the moment, the size of commits, how long the server is away.
        kind: What is killed, one of `KINDS`.
        scenario: One of `SCENARIOS`.
    """
    rng = random.Random(seed)
    done = Trial(seed, scenario, kind)
    undisturbed = world.begin(scenario)
    commit_chunks = rng.choice((48, 4096))
    call = world.call(commit_chunks)
    done.moment = _await_moment(world, call, undisturbed, rng, kind)
    done.hit = _strike(world, call, kind)
    if not done.hit:
        call.wait()
        if not world.server.running:
            world.server.start().ready()
        return done
    before = {text: count for text, count in world.served().items() if text not in _CANARIES}
    done.allowed = _answered_lately(world, time.monotonic())
    _look_at_table(world, done)
    if kind == "server":
        _be_away(rng)
        world.server.start().ready()
    elif kind == "everything":
        world.server.start().ready()
    while (status := _end_of(call, done)) != 0 and done.calls <= CALLS:
        done.calls += 1
        call = world.call(commit_chunks)
    done.seconds = time.monotonic() - call.began
    if status:
        done.faults.append(f"it did not end well in {done.calls} calls; the last said: {_last_words(call)}")
        return done
    served = world.served()
    done.redone = sum(served[text] - count for text, count in before.items())
    if done.redone > done.allowed:
        done.faults.append(f"{done.redone} texts were embedded again, {done.allowed} were under way")
    _check(world, undisturbed, done)
    return done


def _await_moment(world: World, call: Call, undisturbed: Undisturbed, rng: random.Random, kind: str) -> str:
    """Wait for a random moment: after some time, after some texts, or in a commit; return it in words."""
    how = rng.choice(("time", "texts", "write"))
    if kind == "server" and how == "write":
        how = "texts"
    if how == "time":
        at = rng.uniform(0, undisturbed.seconds)
        _until(call, lambda: time.monotonic() - call.began >= at)
        return f"{at:.1f} s after its start"
    if how == "texts":
        count = rng.randrange(1, max(2, undisturbed.texts))
        late = rng.uniform(0, 0.5)
        _until(call, lambda: sum(node.stats()["texts_answered"] for node in world.nodes) >= count, 0.05)
        time.sleep(late)
        return f"{late:.2f} s after {count} texts"
    nth, late = rng.randrange(1, 12), rng.choice((0.0, rng.uniform(0, 0.05)))
    seen, known = 0, _written(world.place)

    def written() -> bool:
        nonlocal seen, known
        now = _written(world.place)
        seen, known = seen + (now != known), now
        return seen >= nth

    _until(call, written, 0.001)
    time.sleep(late)
    return f"{late * 1000:.0f} ms after the {nth}. change in the table's folder"


def _until(call: Call, reached: Callable[[], bool], every: float = 0.01) -> None:
    while call.process.poll() is None and not reached():
        time.sleep(every)


def _written(place: Path) -> int:
    """A number that changes with the names in the table's folders."""
    names = []
    for folder in place.glob("*.lance/*"):
        with contextlib.suppress(OSError):
            names.append((folder.name, sum(1 for _ in folder.iterdir())))
    return hash(tuple(sorted(names)))


def _strike(world: World, call: Call, kind: str) -> bool:
    """Kill; return whether the ingest was under way, and its workers there if it is one of them."""
    if kind == "everything":
        doomed = [*world.processes(), psutil.Process(world.server.pid)]
        for stop in (signal.SIGSTOP, signal.SIGKILL):
            for process in doomed:
                with contextlib.suppress(psutil.Error):
                    process.send_signal(stop)
        hit = call.process.wait() == -signal.SIGKILL
        world.server.kill()
        return hit
    if kind == "server":
        world.server.kill()
        return call.process.poll() is None
    if kind == "flow":
        call.process.kill()
        return call.process.wait() == -signal.SIGKILL
    workers: list[psutil.Process] = []
    ports = {node.port for node in world.nodes}

    def there() -> bool:
        workers[:] = _workers(call, ports, embed=kind == "embed worker")
        return bool(workers)

    _until(call, there)
    if call.process.poll() is not None or not workers:
        return False
    with contextlib.suppress(psutil.NoSuchProcess):
        random.choice(workers).kill()
        return True
    return False


def _workers(call: Call, ports: set[int], *, embed: bool) -> list[psutil.Process]:
    """Dask workers of an ingest: the one with connections to nodes at these ports, or those without any."""
    found = []
    with contextlib.suppress(psutil.Error):
        for process in psutil.Process(call.process.pid).children():
            with contextlib.suppress(psutil.Error):
                if not any("spawn_main" in word for word in process.cmdline()):
                    continue
                at = {each.raddr.port for each in process.net_connections("tcp") if each.raddr}
                if bool(at & ports) == embed:
                    found.append(process)
    return found


def _answered_lately(world: World, now: float) -> int:
    """Texts that nodes had in service within the last `WINDOW` seconds."""
    return sum(
        texts for node in world.nodes for _, _, end, texts in node.stats()["busy"] if end > now - WINDOW
    )


def _be_away(rng: random.Random) -> None:
    """How long nobody starts the server again: mostly some seconds, now and then more than a minute."""
    time.sleep(rng.uniform(60, 90) if rng.random() < 0.1 else rng.uniform(0, 15))


def _end_of(call: Call, done: Trial) -> int:
    try:
        return call.wait()
    except TimeoutError as error:
        done.faults.append(str(error))
        return -1


def _last_words(call: Call) -> str:
    return " | ".join(call.log.read_text(errors="replace").splitlines()[-4:])


def _look_at_table(world: World, done: Trial) -> None:
    """Right after the kill every document is whole: of one content, from the first chunk to the last."""
    if not (world.place / "documents.lance").exists():
        return
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
                done.faults.append(f"after the kill, document {doc_id} was not whole")


def _check(world: World, undisturbed: Undisturbed, done: Trial) -> None:
    for name, found, expected in zip(
        ("chunks", "documents"), world.rows(), (undisturbed.chunks, undisturbed.documents), strict=True
    ):
        if found != expected:
            missing, more = set(expected) - set(found), set(found) - set(expected)
            done.faults.append(
                f"{len(missing)} rows of {name} are missing, {len(more)} should not be there, of {len(expected)}: "
                f"{[dict(row).get('path') for row in [*missing, *more]][:4]}"
            )
    left = _unended(world)
    if left:
        done.faults.append(f"in Prefect these have not ended: {left}")
    delete_left_over_files(StoreSpec(str(world.place), "documents"), timedelta(0))
    files = [str(path) for path in world.place.rglob("*") if path.name.startswith(".tmp")]
    if files:
        done.faults.append(f"left-over files: {files}")
    deadline = time.monotonic() + 30
    while (alive := world.processes()) and time.monotonic() < deadline:
        time.sleep(0.1)
    if alive:
        done.faults.append(f"left-over processes: {[' '.join(each.cmdline())[:80] for each in alive]}")


def _unended(world: World) -> list[str]:
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
