"""A process at a vector cache: `python -m tests.cache_worker FOLDER LIMIT SEED ROUNDS TEXTS`.

Each round it looks a batch of texts up, holds what it gets to the truth, and puts the batch. It says `ready`,
waits for a line, then says `round N` and the batch's numbers after each put, and last `ended` with its hits.
Texts are numbers below TEXTS, so that workers meet at the same keys. ROUNDS 0 goes on until it is killed.
"""

from __future__ import annotations

import random
import sys
from collections.abc import Sequence
from itertools import count

import numpy as np

from prefect_ollama.blocks.cache import CacheSpec, VectorCache, VectorSalt, vector_keys
from prefect_ollama.blocks.nodes.embed_response import Vectors

DIMENSION = 32
SALT = VectorSalt("0a1b2c", "passage: ", DIMENSION, (("num_ctx", "512"),))


def keys_of(numbers: Sequence[int]) -> list[bytes]:
    return vector_keys(SALT, [str(number) for number in numbers])


def vectors_of(keys: Sequence[bytes], dimension: int = DIMENSION) -> Vectors:
    """Return the one right vector of each key."""
    rows = [np.random.default_rng(int.from_bytes(key)).standard_normal(dimension) for key in keys]
    vectors = np.asarray(rows, np.float32).reshape(-1, dimension)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def main() -> None:
    folder, *numbers = sys.argv[1:]
    limit, seed, rounds, texts = map(int, numbers)
    cache = VectorCache(CacheSpec(folder, limit))
    choose = random.Random(seed)
    print("ready", flush=True)
    sys.stdin.readline()
    hits = 0
    for round_ in range(rounds) if rounds else count():
        batch = [choose.randrange(texts) for _ in range(choose.randrange(1, 65))]
        keys = keys_of(batch)
        truth = vectors_of(keys)
        found = cache.get(keys, DIMENSION)
        if not np.array_equal(found.vectors, truth[found.mask]):
            sys.exit("a vector is wrong")
        hits += int(found.mask.sum())
        cache.put(keys, truth)
        print("round", round_, *batch, flush=True)
    print("ended", hits, flush=True)


if __name__ == "__main__":
    main()
