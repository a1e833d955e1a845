"""Several kills of one ingest, one after another: what `trial` holds of one, at the price of few calls."""

from __future__ import annotations

import random
import time
from dataclasses import dataclass, field

from tests.crash.checks import Outcome, served
from tests.crash.trial import last_words, strike, until, written_in
from tests.crash.world import Call, World


@dataclass
class Chain(Outcome):
    """What came of it.

    Attributes:
        seed: Gives the same choices again.
        struck: What was killed when, in order.
        before: How often each text was embedded by the last kill.
    """

    seed: int
    struck: list[str] = field(default_factory=list)
    before: dict[str, int] = field(default_factory=dict, repr=False)


def chain(world: World, seed: int) -> Chain:
    """Kill a worker as it starts, the server, then the flow; in the next call everything; the last ends well.

    Args:
        world: Where; nothing else may use it meanwhile.
        seed: Of all that is left to chance: the moments and the size of commits.
    """
    rng = random.Random(seed)
    done = Chain(seed)
    undisturbed = world.begin("first ingest")
    commit_chunks = rng.choice((48, 4096))
    call = world.call(commit_chunks)
    _strike(world, call, done, "parse worker")
    _strike(world, call, done, "server", texts=rng.randrange(30, 90))
    world.server.start()  # the ingest does not wait for it
    _strike(world, call, done, "flow", texts=rng.randrange(120, 200))
    world.server.ready()
    call = world.call(commit_chunks)
    # Nodes go on with what they had, so texts do not say how far this call is; that it writes to the table does.
    known = written_in(world.place)
    until(call, lambda: written_in(world.place) != known)
    _strike(world, call, done, "everything", late=rng.uniform(0, 3))
    world.server.start().ready()
    call = world.call(commit_chunks)
    if status := call.wait():
        done.faults.append(f"the last call ended with {status}; it said: {last_words(call)}")
        return done
    done.ended(world, undisturbed, done.before)
    return done


def _strike(world: World, call: Call, done: Chain, kind: str, *, texts: int = 0, late: float = 0.0) -> None:
    """Kill something once nodes have answered so many texts, so many seconds later."""
    until(call, lambda: sum(served(world).values()) >= texts, 0.05)
    time.sleep(late)
    when = f"{kind} {late:.1f} s after {texts} texts"
    if strike(world, call, kind):
        done.struck.append(when)
    else:
        done.faults.append(f"{when} came too late")
    done.before = done.killed(world, done.before)
