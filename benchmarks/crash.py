"""Kills in mid-run, many of them, and what they cost.

    uv run python -m benchmarks.crash [--kills 200] [--minutes M] [--results FILE] [--seed N] [--kind K] [--scenario S]

Each trial starts an ingest over simulated nodes, kills something at a random moment (the flow's process, a Dask
worker, the Prefect server, or all of them at once), makes the same call again if that ended it, and so on, up to five
times; then the same call must end well. Then it holds: the table equals that of an undisturbed run, row for row; no
text is embedded again but those under way; in Prefect nothing stays unended; no file and no process is left over.
After each kill no document in the table may be half there. Exit status 1 if any trial failed; `--seed` with the seed
that it names, and `--kills 1`, makes the same choices again.

Two lines a trial say what came of it and of all so far. With `--results` each is kept, one JSON object a line, and the
same command goes on after those that are there: many kills need not come in one piece.
"""

from __future__ import annotations

import argparse
import math
import os
import random
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path

import orjson

os.environ.update(PREFECT_LOGGING_LEVEL="ERROR", PREFECT_SERVER_ANALYTICS_ENABLED="false", DO_NOT_TRACK="1")

from tests.crash import KINDS, SCENARIOS, Trial, trial, world

MOST = 5
"""Kills that a trial is to have, at most; it has fewer where one comes when the ingest is over."""


def trials(seed: int, kinds: Sequence[str], scenarios: Sequence[str]) -> Iterator[Trial]:
    """Run trials, each with the next seed, without end; the logs of those that fail are kept."""
    with (
        tempfile.TemporaryDirectory(prefix="crash-", ignore_cleanup_errors=True) as root,
        world(Path(root)) as made,
    ):
        while True:
            rng = random.Random(seed)
            killed = rng.choices(kinds, k=rng.randint(1, MOST))
            each = trial(made, seed, kinds=killed, scenario=rng.choice(scenarios))
            logs = Path(root) / "logs"
            if each.faults:
                keep = Path(tempfile.gettempdir()) / f"crash-logs-{seed}"
                shutil.copytree(logs, keep, dirs_exist_ok=True)
                each.faults.append(f"the logs are in {keep}")
            shutil.rmtree(logs)
            yield each
            seed += 1


def said(each: Trial) -> str:
    """What came of a trial, in a line, and a line a fault."""
    kills = "; ".join(f"{kind} {moment}" for kind, moment in zip(each.kinds, each.moments, strict=True))
    first = (
        f"{time.strftime('%H:%M:%S')} seed {each.seed}: {each.scenario}: {kills or 'none'}: "
        f"{'FAILED' if each.faults else 'ok'}; {each.calls} calls, {each.redone} texts again (at most {each.allowed}), "
        f"{each.took:.0f} s"
    )
    return "\n    FAULT: ".join([first, *each.faults])


def so_far(done: Sequence[Trial], kills: int) -> str:
    """What came of all trials until now, in a line."""
    hits = Counter(kind for each in done for kind in each.kinds)
    failed = [each.seed for each in done if each.faults]
    by_kind = ", ".join(f"{kind} {hits[kind]}" for kind in KINDS if hits[kind])
    return (
        f"    so far {hits.total()} of {kills} kills in {len(done)} trials ({by_kind or 'none'}), "
        f"{sum(each.late for each in done)} too late, "
        f"{len(failed)} failed{f' (seeds {failed})' if failed else ''}"
    )


def table(done: Sequence[Trial]) -> str:
    """The outcome by what was killed; trials in which it was killed among others."""
    lines = ["| killed | kills | trials | texts done again, worst | last call, worst | failed (seeds) |"]
    lines.append("|---|---|---|---|---|---|")
    for kind in (*KINDS, "all"):
        hits = [each for each in done if kind in each.kinds or (kind == "all" and each.kinds)]
        if hits:
            kills = sum(len(each.kinds) if kind == "all" else each.kinds.count(kind) for each in hits)
            worst = max(hits, key=lambda each: each.redone)
            failed = [str(each.seed) for each in hits if each.faults]
            lines.append(
                f"| {kind} | {kills} | {len(hits)} | {worst.redone} of {worst.allowed} under way | "
                f"{max(each.seconds for each in hits):.0f} s | {len(failed)} ({', '.join(failed) or 'none'}) |"
            )
    return "\n".join(lines)


def main() -> None:
    """Run the trials and print the table."""
    arguments = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    arguments.add_argument("--kills", type=int, default=200, help="kills that hit a run under way")
    arguments.add_argument("--minutes", type=float, default=math.inf, help="begin no trial after so many")
    arguments.add_argument("--results", type=Path, help="file in which trials are kept, to go on after them")
    arguments.add_argument("--seed", type=int, help="first seed; by default random, or the next of the file")
    arguments.add_argument(
        "--kind", action="append", choices=KINDS, help="only this; may be given several times"
    )
    arguments.add_argument("--scenario", action="append", choices=SCENARIOS, help="only this, likewise")
    options = arguments.parse_args()
    deadline = time.monotonic() + 60 * options.minutes
    done: list[Trial] = []
    if options.results and options.results.exists():
        done += [Trial(**orjson.loads(each)) for each in options.results.read_bytes().splitlines()]
        print(so_far(done, options.kills).strip())
    seed = options.seed
    if seed is None:
        seed = done[-1].seed + 1 if done else random.SystemRandom().randrange(2**31)
    print(f"first seed {seed}", flush=True)
    running = trials(seed, options.kind or [*KINDS], options.scenario or [*SCENARIOS])
    while sum(len(each.kinds) for each in done) < options.kills and time.monotonic() < deadline:
        each = next(running)
        done.append(each)
        print(said(each), so_far(done, options.kills), sep="\n", flush=True)
        if options.results:
            with options.results.open("ab") as file:
                file.write(orjson.dumps(asdict(each)) + b"\n")
    running.close()
    print(table(done))
    sys.exit(any(each.faults for each in done))


if __name__ == "__main__":
    main()
