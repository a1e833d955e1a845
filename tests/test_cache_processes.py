"""Several processes at one vector cache: none gets a wrong vector or loses one that it put, even if one is killed."""

from __future__ import annotations

import random
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from threading import Timer

import numpy as np
import pytest

from prefect_ollama.blocks.cache import CacheSpec, VectorCache
from tests.cache_worker import DIMENSION, keys_of, vectors_of

WAIT = 240.0
LIMIT = 8 * 1024**2
Start = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Start a worker and wait until it is ready; whatever runs at the end of the test is killed."""
    with ExitStack() as stack:

        def begin(*, seed: int, rounds: int, texts: int, limit: int = LIMIT) -> subprocess.Popen[str]:
            values = [str(value) for value in (tmp_path, limit, seed, rounds, texts)]
            process = subprocess.Popen(
                [sys.executable, "-m", "tests.cache_worker", *values],
                cwd=Path(__file__).parent.parent,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
            stack.enter_context(process)
            stack.callback(process.kill)
            guard = Timer(WAIT, process.kill)
            guard.daemon = True
            guard.start()
            stack.callback(guard.cancel)
            return process

        yield begin


def go(*processes: subprocess.Popen[str]) -> None:
    for process in processes:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()


def put_by(process: subprocess.Popen[str], rounds: int | None = None) -> set[int]:
    """Numbers of the texts that a worker said it put, in its next so many rounds or to its end."""
    assert process.stdout is not None
    put: set[int] = set()
    for line in process.stdout:
        if not line.endswith("\n"):
            break  # killed as it spoke
        word, *numbers = line.split()
        if word == "round":
            put |= set(map(int, numbers[1:]))
            if rounds is not None and int(numbers[0]) + 1 >= rounds:
                break
    return put


def assert_holds(cache: VectorCache, numbers: set[int]) -> None:
    keys = keys_of(sorted(numbers))
    found = cache.get(keys, DIMENSION)
    assert found.mask.all(), f"{np.count_nonzero(~found.mask)} of {len(keys)} were lost"
    assert np.array_equal(found.vectors, vectors_of(keys))


def test_writers_and_readers_at_once(start: Start, tmp_path: Path) -> None:
    workers = [start(seed=seed, rounds=60, texts=3000) for seed in (1, 2, 3)]
    go(*workers)
    put = set.union(*(put_by(worker) for worker in workers))
    assert [worker.wait(WAIT) for worker in workers] == [0, 0, 0]
    cache = VectorCache(CacheSpec(str(tmp_path), LIMIT))
    assert_holds(cache, put)
    stats = cache.stats()
    assert stats.damaged == 0
    assert stats.entries == len(put)


def killed_again_and_again(start: Start, folder: Path, kills: int) -> None:
    seed = random.SystemRandom().randrange(2**32)
    print(f"seed {seed}")
    choose = random.Random(seed)
    put: set[int] = set()
    for _ in range(kills // 2):
        workers = [start(seed=choose.randrange(2**32), rounds=0, texts=6000) for _ in range(2)]
        go(*workers)
        # The first is killed some time after a round it chose, the other wherever it is by then.
        put |= put_by(workers[0], rounds=choose.randrange(1, 30))
        late = Timer(choose.random() * 0.03, workers[0].kill)
        late.start()
        late.join()
        workers[1].kill()
        for worker in workers:
            put |= put_by(worker)
            worker.wait(WAIT)
        cache = VectorCache(CacheSpec(str(folder), LIMIT))
        assert_holds(cache, put)
        assert cache.stats().damaged == 0


@pytest.mark.slow
def test_killed_writers_leave_all_that_they_said_is_there(start: Start, tmp_path: Path) -> None:
    killed_again_and_again(start, tmp_path, kills=8)


@pytest.mark.slow
def test_many_killed_writers(start: Start, tmp_path: Path) -> None:
    killed_again_and_again(start, tmp_path, kills=80)


@pytest.mark.slow
def test_cleared_while_others_work(start: Start, tmp_path: Path) -> None:
    workers = [start(seed=seed, rounds=80, texts=1000) for seed in (4, 5)]
    cache = VectorCache(CacheSpec(str(tmp_path), LIMIT))
    go(*workers)
    for rounds in range(10, 80, 10):
        put_by(workers[0], rounds)
        cache.clear()
    for worker in workers:
        put_by(worker)
    assert [worker.wait(WAIT) for worker in workers] == [0, 0]
    cache.clear()
    assert cache.stats().entries == 0
    assert cache.stats().bytes < 256 * 1024  # the pages of empty tables
    assert not cache.get(keys_of(range(1000)), DIMENSION).mask.any()


@pytest.mark.slow
def test_the_limit_holds_with_several_writers(start: Start, tmp_path: Path) -> None:
    limit = 1024**2
    workers = [start(seed=seed, rounds=160, texts=10**9, limit=limit) for seed in (6, 7)]
    go(*workers)
    put = [put_by(worker) for worker in workers]
    assert [worker.wait(WAIT) for worker in workers] == [0, 0]
    stats = VectorCache(CacheSpec(str(tmp_path), limit)).stats()
    assert sum(map(len, put)) * (4 * DIMENSION + 20) > 1.2 * limit
    assert 0.5 * limit < stats.bytes <= limit


def test_a_database_without_tables_is_finished_and_not_damaged(tmp_path: Path) -> None:
    """So a process leaves it that was killed while it made the database."""
    (tmp_path / "vectors.sqlite").touch(0o600)
    with closing(sqlite3.connect(tmp_path / "vectors.sqlite")) as connection:
        connection.execute("PRAGMA page_size = 16384")
        connection.execute("PRAGMA auto_vacuum = INCREMENTAL").fetchall()
        assert connection.execute("PRAGMA page_count").fetchone() == (1,)
    cache = VectorCache(CacheSpec(str(tmp_path), LIMIT))
    keys = keys_of(range(3))
    cache.put(keys, vectors_of(keys))
    assert cache.get(keys, DIMENSION).mask.all()
    assert cache.stats().damaged == 0
