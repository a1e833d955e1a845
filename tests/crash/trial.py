"""One trial: an ingest, kills in mid-run, the same call again, and what must hold then."""

from __future__ import annotations

import contextlib
import random
import signal
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from tests.crash.checks import Outcome, served
from tests.crash.world import Call, Undisturbed, World
from tests.killing import fork_servers, workers_of

KINDS = ("flow", "parse worker", "embed worker", "fork server", "server", "everything")

CALLS = 3
"""Calls in which an ingest must have ended well after the last kill."""


@dataclass
class Trial(Outcome):
    """What came of a trial.

    Attributes:
        seed: Gives the same choices again.
        scenario: What the ingest had to do.
        kinds: What was killed, in order.
        moments: When, in words.
        late: Whether the ingest was over before another kill that was meant for it.
        calls: Calls that it took, the first included.
        seconds: What the last call took.
        took: What the whole trial took, in seconds.
    """

    seed: int
    scenario: str
    kinds: list[str] = field(default_factory=list)
    moments: list[str] = field(default_factory=list)
    late: bool = False
    calls: int = 1
    seconds: float = 0.0
    took: float = 0.0


def trial(world: World, seed: int, *, kinds: Sequence[str], scenario: str) -> Trial:
    """Run one.

    Args:
        world: Where; nothing else may use it meanwhile.
        seed: Of all that is left to chance: the moments, the size of commits, how long the server is away.
        kinds: What is killed, one after another, of `KINDS`.
        scenario: One of `SCENARIOS`.
    """
    began = time.monotonic()
    done = Trial(seed, scenario)
    _try(world, done, kinds)
    done.took = time.monotonic() - began
    return done


def _try(world: World, done: Trial, kinds: Sequence[str]) -> None:
    rng = random.Random(done.seed)
    undisturbed = world.begin(done.scenario)
    commit_chunks = rng.choice((48, 4096))
    call = world.call(commit_chunks)
    before: dict[str, int] = {}
    for kind in kinds:
        moment = _await_moment(world, call, undisturbed, rng, kind)
        if not strike(world, call, kind):
            done.late = True
            break
        done.kinds.append(kind)
        done.moments.append(moment)
        before = done.killed(world, before)
        if kind == "server" and call.process.poll() is None:
            _be_away(rng)
        world.server.up()
        if kind in ("flow", "everything"):
            done.calls += 1
            call = world.call(commit_chunks)
    world.server.up()
    most = done.calls + CALLS
    while (status := _end_of(call, done)) != 0 and done.calls < most:
        done.calls += 1
        call = world.call(commit_chunks)
    done.seconds = time.monotonic() - call.began
    if status:
        done.faults.append(f"it did not end well in {done.calls} calls; the last said: {last_words(call)}")
        return
    done.ended(world, undisturbed, before)


def _await_moment(world: World, call: Call, undisturbed: Undisturbed, rng: random.Random, kind: str) -> str:
    """Wait for a random moment: after some time, after some texts, or in a commit; return it in words.

    It is early rather than late in what is left, so that there is something left for a next kill.
    """
    how = rng.choice(("time", "texts", "write"))
    if kind == "server" and how == "write":
        how = "texts"
    if how == "time":
        # Workers are gone before the flow's process is.
        at = undisturbed.seconds * rng.triangular(
            0, 1.0 if kind in ("flow", "server", "everything") else 0.75, 0.2
        )
        until(call, lambda: time.monotonic() - call.began >= at)
        return f"{at:.1f} s after its start"
    if how == "texts":
        done = sum(served(world).values())
        count = done + round(rng.triangular(1, max(2, undisturbed.texts - done), 1))
        late = rng.uniform(0, 0.5)
        until(call, lambda: sum(served(world).values()) >= count, 0.05)
        time.sleep(late)
        return f"{late:.2f} s after {count} texts"
    nth, late = rng.randrange(1, 12), rng.choice((0.0, rng.uniform(0, 0.05)))
    seen, known = 0, written_in(world.place)

    def written() -> bool:
        nonlocal seen, known
        now = written_in(world.place)
        seen, known = seen + (now != known), now
        return seen >= nth

    until(call, written, 0.001)
    time.sleep(late)
    return f"{late * 1000:.0f} ms after the {nth}. change in the table's folder"


def until(call: Call, reached: Callable[[], bool], every: float = 0.01) -> None:
    """Wait until something is so, or the ingest has ended."""
    while call.process.poll() is None and not reached():
        time.sleep(every)


def written_in(place: Path) -> int:
    """A number that changes with the names in the table's folders."""
    names = []
    for folder in place.glob("*.lance/*"):
        with contextlib.suppress(OSError):
            names.append((folder.name, sum(1 for _ in folder.iterdir())))
    return hash(tuple(sorted(names)))


def strike(world: World, call: Call, kind: str) -> bool:
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
    if kind == "fork server":
        until(call, lambda: bool(workers_of(call.process.pid)))
        doomed = fork_servers(call.process.pid)
        for each in doomed:
            with contextlib.suppress(psutil.NoSuchProcess):
                each.kill()
        return bool(doomed) and call.process.poll() is None
    workers: list[psutil.Process] = []
    ports = {node.port for node in world.nodes}

    def there() -> bool:
        workers[:] = _workers(call, ports, embed=kind == "embed worker")
        return bool(workers)

    until(call, there)
    if call.process.poll() is not None or not workers:
        return False
    with contextlib.suppress(psutil.NoSuchProcess):
        random.choice(workers).kill()
        return True
    return False


def _workers(call: Call, ports: set[int], *, embed: bool) -> list[psutil.Process]:
    """Dask workers of an ingest: the one with connections to nodes at these ports, or those without any."""
    found = []
    for process in workers_of(call.process.pid):
        with contextlib.suppress(psutil.Error):
            at = {each.raddr.port for each in process.net_connections("tcp") if each.raddr}
            if bool(at & ports) == embed:
                found.append(process)
    return found


def _be_away(rng: random.Random) -> None:
    """How long nobody starts the server again: mostly some seconds, now and then more than a minute."""
    time.sleep(rng.uniform(60, 90) if rng.random() < 0.1 else rng.uniform(0, 15))


def _end_of(call: Call, done: Trial) -> int:
    try:
        return call.wait()
    except TimeoutError as error:
        done.faults.append(str(error))
        return -1


def last_words(call: Call) -> str:
    """What an ingest logged last."""
    return " | ".join(call.log.read_text(errors="replace").splitlines()[-4:])
