"""Kills in mid-run, many of them, and what they cost.

    uv run python -m benchmarks.crash [--kills 200] [--seed N] [--kind KIND] [--scenario SCENARIO]

Each trial starts an ingest over simulated nodes, kills something at a random moment (the flow's process, a Dask
worker, the Prefect server, or all of them at once), and makes the same call again until it ends well. Then it holds:
the table equals that of an undisturbed run, row for row; no text is embedded again but those under way; in Prefect
nothing stays unended; no file and no process is left over. Exit status 1 if any trial failed; `--seed` with the seed
that it names, and `--kills 1`, makes the same choices again.
"""

from __future__ import annotations

import argparse
import os
import random
import sys
import tempfile
import time
from pathlib import Path

os.environ.update(PREFECT_LOGGING_LEVEL="ERROR", PREFECT_SERVER_ANALYTICS_ENABLED="false", DO_NOT_TRACK="1")

from tests.crash import KINDS, SCENARIOS, Trial, trial, world


def run(kills: int, seed: int, kinds: list[str], scenarios: list[str]) -> list[Trial]:
    """Run trials until so many have hit a run that was under way; print one line each."""
    done: list[Trial] = []
    with (
        tempfile.TemporaryDirectory(prefix="crash-", ignore_cleanup_errors=True) as root,
        world(Path(root)) as made,
    ):
        while sum(each.hit for each in done) < kills:
            rng = random.Random(seed)
            each = trial(made, seed, kind=rng.choice(kinds), scenario=rng.choice(scenarios))
            done.append(each)
            print(
                f"{time.strftime('%H:%M:%S')} seed {seed}: {each.kind}, {each.scenario}, {each.moment}"
                + (
                    f"; {each.calls} calls, the last took {each.seconds:.1f} s; {each.redone} texts again "
                    f"(at most {each.allowed})"
                    if each.hit
                    else "; too late"
                ),
                *each.faults,
                sep="\n    FAULT: ",
                flush=True,
            )
            if each.faults:
                keep = Path(tempfile.gettempdir()) / f"crash-logs-{seed}"
                (Path(root) / "logs").rename(keep)
                print(f"    logs are in {keep}")
            seed += 1
    return done


def table(done: list[Trial]) -> str:
    """The outcome by what was killed."""
    lines = [
        "| killed | kills | went on by itself | texts done again, worst | last call, worst | failed (seeds) |"
    ]
    lines.append("|---|---|---|---|---|---|")
    for kind in (*KINDS, "all"):
        hits = [each for each in done if each.hit and kind in (each.kind, "all")]
        if hits:
            worst = max(hits, key=lambda each: each.redone)
            failed = [str(each.seed) for each in hits if each.faults]
            lines.append(
                f"| {kind} | {len(hits)} | {sum(each.calls == 1 for each in hits)} | "
                f"{worst.redone} of {worst.allowed} under way | {max(each.seconds for each in hits):.0f} s | "
                f"{len(failed)} ({', '.join(failed) or 'none'}) |"
            )
    return "\n".join(lines)


def main() -> None:
    """Run the trials and print the table."""
    arguments = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    arguments.add_argument("--kills", type=int, default=200, help="kills that hit a run under way")
    arguments.add_argument(
        "--seed", type=int, default=random.SystemRandom().randrange(2**31), help="first seed"
    )
    arguments.add_argument(
        "--kind", action="append", choices=KINDS, help="only this; may be given several times"
    )
    arguments.add_argument("--scenario", action="append", choices=SCENARIOS, help="only this, likewise")
    options = arguments.parse_args()
    print(f"first seed {options.seed}", flush=True)
    done = run(options.kills, options.seed, options.kind or [*KINDS], options.scenario or [*SCENARIOS])
    print(table(done))
    sys.exit(any(each.faults for each in done))


if __name__ == "__main__":
    main()
