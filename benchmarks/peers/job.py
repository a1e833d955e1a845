"""What all peers share: read the job, run it once against the clock, check every vector, print one line of JSON."""

from __future__ import annotations

import contextlib
import json
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tests.nodes.vectors import expected_vector

# A vector a text, in order; what a library leaves out is None.
Vectors = Sequence[Any]
CLOSE = 1e-4


@dataclass(frozen=True, slots=True)
class Job:
    """Texts to embed on nodes; `fastest` is the place of the fastest one."""

    way: str
    urls: list[str]
    fastest: int
    texts: list[str]
    model: str
    dimension: int
    weights: str
    pool: int

    def count(self, vectors: Vectors) -> dict[str, int]:
        """How many texts have their right vector, a wrong one, none."""
        vectors = [*vectors, *[None] * (len(self.texts) - len(vectors))]
        right = wrong = missing = 0
        for text, vector in zip(self.texts, vectors, strict=True):
            if vector is None or not len(vector):
                missing += 1
                continue
            want = expected_vector(text, self.dimension, self.weights, pool=self.pool)
            got = np.asarray(vector, dtype=np.float32)
            if got.shape == want.shape and np.allclose(got, want, atol=CLOSE):
                right += 1
            else:
                wrong += 1
        return {"right": right, "wrong": wrong, "missing": missing}


def main(ways: dict[str, Callable[[Job], Callable[[], Vectors]]]) -> None:
    """Run the job named on the command line; each way makes ready and returns what the clock measures."""
    job = Job(**json.loads(Path(sys.argv[1]).read_text()))
    with contextlib.redirect_stdout(sys.stderr):  # some libraries talk
        embed = ways[job.way](job)
        error = None
        vectors: Vectors = []
        begun = time.perf_counter()
        try:
            vectors = embed()
        except Exception as caught:
            error = f"{type(caught).__name__}: {caught}"
        seconds = time.perf_counter() - begun
    print(json.dumps({"seconds": seconds, **job.count(vectors), "error": error}), flush=True)


def equal_parts(job: Job, embed: Callable[[str, list[str]], Vectors]) -> Vectors:
    """Split the texts into as many equal parts as there are nodes, and embed each on its node in a thread."""
    size = -(-len(job.texts) // len(job.urls))
    parts = [job.texts[start : start + size] for start in range(0, len(job.texts), size)]
    with ThreadPoolExecutor(len(job.urls)) as pool:
        done = list(pool.map(embed, job.urls, parts))
    return [vector for part in done for vector in part]
