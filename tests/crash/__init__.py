"""Kills in mid-run, and what must hold after them: the machinery of `tests/test_crash.py` and `benchmarks/crash.py`.

A `World` is one machine's worth of parts: a Prefect server as a process of its own, simulated nodes, a folder of PDFs
and a table. A `trial` starts an ingest there, kills something at a random moment, makes the same call again until it
ends well, and holds the outcome to that of a run that nobody disturbed. A `chain` does so with several kills of one
ingest.
"""

from __future__ import annotations

from tests.crash.chain import Chain, chain
from tests.crash.trial import KINDS, Trial, trial
from tests.crash.world import SCENARIOS, World, world

__all__ = ["KINDS", "SCENARIOS", "Chain", "Trial", "World", "chain", "trial", "world"]
