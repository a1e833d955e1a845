"""The vector cache in one process: what was put comes back and nothing else, whatever happens to its files."""

from __future__ import annotations

import os
import pickle
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from zipfile import ZipFile

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from prefect_ollama.blocks.cache import CacheSpec, VectorCache, VectorSalt, _sql, shared_cache, vector_keys
from prefect_ollama.blocks.cache._folder import TEMPORARY_AGE_S
from prefect_ollama.blocks.errors import CacheError, ConfigurationError
from tests.cache_worker import DIMENSION, SALT, keys_of, vectors_of
from tests.cases import most_slow

LIMIT = 64 * 1024**2


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "shared" / "cache"


@pytest.fixture
def cache(folder: Path) -> VectorCache:
    return VectorCache(CacheSpec(str(folder), LIMIT))


def again(cache: VectorCache) -> VectorCache:
    """The same folder, as another process sees it."""
    return VectorCache(cache.spec)


def fill(cache: VectorCache, numbers: range) -> list[bytes]:
    keys = keys_of(numbers)
    cache.put(keys, vectors_of(keys))
    return keys


def assert_holds(cache: VectorCache, keys: list[bytes]) -> None:
    found = cache.get(keys, DIMENSION)
    assert found.mask.all()
    assert np.array_equal(found.vectors, vectors_of(keys))


def files(folder: Path, suffix: str = ".sqlite") -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.name.endswith(suffix))


class TestKeys:
    def test_all_that_makes_a_vector_is_in_the_key(self) -> None:
        salts = [
            SALT,
            replace(SALT, model="0a1b2d"),
            replace(SALT, prefix="query: "),
            replace(SALT, prefix=""),
            replace(SALT, dimension=31),
            replace(SALT, options=()),
            replace(SALT, options=(("num_ctx", "513"),)),
            replace(SALT, options=(("num_ctx", "512"), ("num_batch", "512"))),
        ]
        texts = ["", "a", "A", "a ", "passage: a", "ab", "\ud800", "\ud801", "é", "e\u0301"]
        keys = [key for salt in salts for key in vector_keys(salt, texts)]
        assert len(set(keys)) == len(keys) == len(salts) * len(texts)
        assert {len(key) for key in keys} == {16}

    def test_order_and_type_of_options_do_not_matter(self) -> None:
        one = replace(SALT, options=(("a", "1"), ("b", "2")))
        assert one == replace(SALT, options=(("b", 2), ("a", 1)))

    def test_keys_stay_what_they_are(self) -> None:
        """Another value here throws away what users have embedded."""
        salt = VectorSalt("0123456789abcdef", "passage: ", 768, (("num_ctx", "2048"),))
        assert [key.hex() for key in vector_keys(salt, ["text", "ü"])] == [
            "ca59f98690518fefd0f965b9ae20d46f",
            "d85e9749d442424c4bf07209cd88b645",
        ]


class TestGetAndPut:
    def test_a_folder_that_is_not_there_is_an_empty_cache(self, cache: VectorCache, folder: Path) -> None:
        found = cache.get(keys_of(range(3)), DIMENSION)
        assert found.mask.tolist() == [False] * 3
        assert found.vectors.shape == (0, DIMENSION)
        assert cache.stats().entries == cache.clear().entries == 0
        assert not folder.exists()

    def test_what_was_put_is_there_for_all(self, cache: VectorCache) -> None:
        other = again(cache)
        keys = fill(cache, range(100))
        assert_holds(cache, keys)
        assert_holds(other, keys)
        more = fill(other, range(50, 150))
        assert_holds(cache, more)
        mixed = [keys[3], keys_of([999])[0], more[99], keys[3]]
        found = cache.get(mixed, DIMENSION)
        assert found.mask.tolist() == [True, False, True, True]
        assert np.array_equal(found.vectors, vectors_of([keys[3], more[99], keys[3]]))
        stats = cache.stats()
        assert (stats.entries, stats.damaged) == (150, 0)
        assert stats.bytes == sum(path.stat().st_size for path in files(Path(stats.folder)))
        assert stats.oldest is not None
        assert stats.newest is not None
        assert stats.oldest <= stats.newest

    def test_doubled_keys_are_kept_once(self, cache: VectorCache) -> None:
        keys = keys_of([1, 2, 1, 3, 2, 1])
        cache.put(keys, vectors_of(keys))
        cache.put(keys, vectors_of(keys))
        again(cache).put(keys, vectors_of(keys))
        assert_holds(cache, keys)
        assert cache.stats().entries == 3

    def test_nothing_asked_and_nothing_put(self, cache: VectorCache) -> None:
        cache.put([], np.empty((0, DIMENSION), np.float32))
        assert cache.get([], DIMENSION).vectors.shape == (0, DIMENSION)
        assert cache.stats().entries == 0

    def test_a_vector_of_another_length_is_missing(self, cache: VectorCache) -> None:
        keys = fill(cache, range(4))
        assert not cache.get(keys, DIMENSION + 1).mask.any()
        cache.put(keys, vectors_of(keys, DIMENSION + 1))
        assert np.array_equal(cache.get(keys, DIMENSION + 1).vectors, vectors_of(keys, DIMENSION + 1))
        assert_holds(cache, keys)

    @pytest.mark.parametrize("bad", [np.nan, np.inf, 0.0, 2.0])
    def test_no_vector_is_taken_that_no_node_gives(self, cache: VectorCache, bad: float) -> None:
        keys = keys_of(range(3))
        vectors = vectors_of(keys)
        vectors[1] *= bad
        with pytest.raises(ValueError, match="vector 1 is not finite or not of norm 1"):
            cache.put(keys, vectors)
        assert cache.stats().entries == 0

    def test_shapes_that_do_not_fit(self, cache: VectorCache) -> None:
        keys = keys_of(range(3))
        with pytest.raises(ValueError, match="3 keys"):
            cache.put(keys, vectors_of(keys[:2]))
        with pytest.raises(ValueError, match="16 bytes"):
            cache.put([b"short"], vectors_of(keys[:1]))
        with pytest.raises(ValueError, match="16 bytes"):
            cache.get([b"x" * 15, b"x" * 17], DIMENSION)

    def test_threads_share_a_cache(self, cache: VectorCache) -> None:
        barrier = threading.Barrier(4)

        def work(start: int) -> None:
            barrier.wait(240)
            for first in range(start, start + 60, 3):
                assert_holds(cache, fill(cache, range(first, first + 6)))

        with ThreadPoolExecutor(4) as pool:
            list(pool.map(work, range(0, 120, 30)))
        assert_holds(again(cache), keys_of(range(120)))
        assert shared_cache(cache.spec) is shared_cache(replace(cache.spec))

    keys = st.builds(
        # Few heads, so that different keys share theirs as real ones hardly ever do.
        lambda head, tail: bytes([head]) * 8 + bytes([tail]) * 8,
        st.integers(0, 2),
        st.integers(0, 12),
    )
    steps = st.lists(
        st.tuples(st.sampled_from(["put", "get", "clear", "open"]), st.integers(0, 1), st.lists(keys)),
        max_size=30,
    )

    @given(steps=steps)
    @settings(deadline=None, max_examples=60)
    def test_like_a_dictionary(self, steps: list[tuple[str, int, list[bytes]]]) -> None:
        with tempfile.TemporaryDirectory() as folder:
            spec = CacheSpec(folder, LIMIT)
            caches = [VectorCache(spec), VectorCache(spec)]
            model: set[bytes] = set()
            for what, which, keys in steps:
                if what == "put":
                    caches[which].put(keys, vectors_of(keys))
                    model |= set(keys)
                elif what == "get":
                    found = caches[which].get(keys, DIMENSION)
                    assert found.mask.tolist() == [key in model for key in keys]
                    assert np.array_equal(found.vectors, vectors_of([key for key in keys if key in model]))
                elif what == "open":
                    caches[which] = VectorCache(spec)
                elif what == "clear" and len(keys) > 3:
                    caches[which].clear()
                    model = set()
            assert {path.suffix for path in Path(folder).iterdir()} <= {".sqlite", ".sqlite-journal", ".lock"}


class TestLimit:
    limit = 2 * 1024**2

    @pytest.mark.slow
    def test_the_size_on_disk_stays_below_it(self, folder: Path) -> None:
        cache = VectorCache(CacheSpec(str(folder), self.limit))
        largest = 0
        for first in range(0, 30_000, 500):
            keys = fill(cache, range(first, first + 500))
            assert_holds(cache, keys)
            size = sum(path.stat().st_size for path in folder.iterdir())
            assert size <= self.limit
            largest = max(largest, size)
        assert largest > 0.9 * self.limit
        # Evicted as little as was needed: a record takes its 132 bytes and some 60 of keys and index.
        assert cache.stats().entries > 0.85 * self.limit / 192

    def test_what_was_not_used_for_the_longest_time_goes_first(
        self, folder: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        cache = VectorCache(CacheSpec(str(folder), self.limit))
        now = 1_000_000_000
        monkeypatch.setattr(_sql, "now", lambda: now)
        batches = [fill(cache, range(first, first + 1024)) for first in range(0, 9 * 1024, 1024)]
        now += 3600
        assert_holds(again(cache), batches[4])  # in another process
        fresh = [fill(cache, range(first, first + 1000)) for first in range(20_000, 28_000, 1000)]
        held = [int(cache.get(batch, DIMENSION).mask.sum()) for batch in batches]
        # A block may hold the end of one batch and the beginning of the next one.
        assert [count > 0 for count in held[:3]] == [False] * 3
        assert held[4] == 1024
        for batch in fresh:
            assert_holds(cache, batch)

    def test_more_than_the_limit_at_once(self, folder: Path) -> None:
        cache = VectorCache(CacheSpec(str(folder), 1024**2))
        fill(cache, range(10_000))
        assert cache.stats().bytes <= 1024**2
        fill(cache, range(10_000, 10_100))
        assert_holds(again(cache), keys_of(range(10_000, 10_100)))

    def test_a_process_that_is_told_a_lower_limit_holds_it(self, cache: VectorCache) -> None:
        for first in range(0, 20_000, 2000):
            fill(cache, range(first, first + 2000))
        strict = VectorCache(CacheSpec(cache.spec.folder, 1024**2))
        keys = fill(strict, range(50_000, 50_010))
        assert strict.stats().bytes <= 1024**2
        assert_holds(cache, keys)

    @pytest.mark.parametrize("limit", [0, -1, 1024**2 - 1])
    def test_limits_that_cannot_be(self, limit: int) -> None:
        with pytest.raises(ConfigurationError, match="at least 1 MiB"):
            CacheSpec("cache", limit)

    @pytest.mark.parametrize("folder", ["", "s3://bucket/cache"])
    def test_folders_that_cannot_be(self, folder: str) -> None:
        with pytest.raises(ConfigurationError, match="every worker can reach"):
            CacheSpec(folder)

    def test_a_folder_is_absolute(self) -> None:
        assert CacheSpec("~/cache").folder == str(Path.home() / "cache")
        assert CacheSpec("cache").folder == str(Path.cwd() / "cache")


class TestDamage:
    COUNT = 400

    @pytest.fixture
    def damaged(self, cache: VectorCache, folder: Path) -> Path:
        fill(cache, range(self.COUNT))
        return files(folder)[0]

    def assert_recovers(self, cache: VectorCache) -> int:
        """Read and write it as other processes do; return how many vectors were rescued."""
        keys = keys_of(range(self.COUNT))
        found = again(cache).get(keys, DIMENSION)
        assert np.array_equal(found.vectors, vectors_of(keys)[found.mask])
        other = again(cache)
        found = other.get(keys, DIMENSION)
        assert np.array_equal(found.vectors, vectors_of(keys)[found.mask])
        fill(other, range(self.COUNT))
        assert_holds(other, keys)
        assert_holds(again(cache), keys)
        assert_holds(cache, keys)
        return int(found.mask.sum())

    @pytest.mark.parametrize("length", [0, 3, 99, 100, 5000, 16384, 50_000])
    @pytest.mark.sampled(2)
    def test_truncated(
        self, cache: VectorCache, folder: Path, damaged: Path, caplog: pytest.LogCaptureFixture, length: int
    ) -> None:
        os.truncate(damaged, length)
        self.assert_recovers(cache)
        if length:
            assert len(files(folder, ".damaged")) == cache.stats().damaged == 1
            assert "damaged" in caplog.text
            assert cache.clear().damaged == 1
            assert not files(folder, ".damaged")

    def test_a_wrong_bit_in_one_vector_costs_that_vector(
        self, cache: VectorCache, folder: Path, damaged: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        content = bytearray(damaged.read_bytes())
        place = content.index(vectors_of(keys_of([7])).tobytes())
        content[place + 5] ^= 1
        damaged.write_bytes(content)
        found = again(cache).get(keys_of(range(self.COUNT)), DIMENSION)
        assert np.flatnonzero(~found.mask).tolist() == [7]
        assert "count as missing: 1." in caplog.text
        assert not files(folder, ".damaged")
        assert self.assert_recovers(cache) == self.COUNT - 1

    def test_vectors_that_changed_places(
        self, cache: VectorCache, damaged: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        """Both are finite and of norm 1, and each is another text's."""
        first, second = (row.tobytes() for row in vectors_of(keys_of([3, 4])))
        content = damaged.read_bytes()
        damaged.write_bytes(
            content.replace(first, b"?" * len(first))
            .replace(second, first)
            .replace(b"?" * len(first), second)
        )
        assert self.assert_recovers(cache) == self.COUNT - 2
        assert "damaged" in caplog.text.lower()

    def test_an_index_that_names_another_record(
        self, cache: VectorCache, folder: Path, damaged: Path
    ) -> None:
        """Keys changed places in the index alone, so deleting what they name would delete sound vectors."""
        one, two = keys_of([3, 4])
        content = damaged.read_bytes()
        places = {key: content.rindex(key) for key in (one, two)}
        assert all(content.count(key) == 2 for key in (one, two))
        # The index has no vector behind its key.
        at = {
            key: next(
                place
                for place in (content.index(key), content.rindex(key))
                if vectors_of([key]).tobytes() not in content[place : place + 200]
            )
            for key in places
        }
        changed = bytearray(content)
        changed[at[one] : at[one] + 16], changed[at[two] : at[two] + 16] = two, one
        damaged.write_bytes(changed)
        # Both are rescued from the records, whose order needs no index.
        assert self.assert_recovers(cache) == self.COUNT
        assert len(files(folder, ".damaged")) == 1

    def test_no_database_at_all(self, cache: VectorCache, folder: Path, damaged: Path) -> None:
        damaged.write_bytes(b"This is no database. " * 1000)
        assert self.assert_recovers(cache) == 0
        assert len(files(folder, ".damaged")) == 1

    def test_a_table_is_missing(self, cache: VectorCache, folder: Path, damaged: Path) -> None:
        with sqlite3.connect(damaged) as connection:
            connection.execute("DROP TABLE blocks")
        connection.close()
        assert self.assert_recovers(cache) == self.COUNT
        assert len(files(folder, ".damaged")) == 1

    @given(data=st.data())
    @settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
    @pytest.mark.slow
    def test_whatever_happens_to_a_file_no_vector_is_wrong(self, data: st.DataObject) -> None:
        with tempfile.TemporaryDirectory() as name:
            cache = VectorCache(CacheSpec(name, LIMIT))
            keys = fill(cache, range(200))
            [path] = files(Path(name))
            content = bytearray(path.read_bytes())
            for _ in range(data.draw(st.integers(1, 4))):
                start = data.draw(st.integers(0, len(content)))
                content[start : start + data.draw(st.integers(0, 200))] = data.draw(st.binary(max_size=200))
            path.write_bytes(content)
            for each in (cache, again(cache), again(cache)):
                found = each.get(keys, DIMENSION)
                assert np.array_equal(found.vectors, vectors_of(keys)[found.mask])
            other = again(cache)
            fill(other, range(200))
            assert_holds(again(cache), keys)

    def test_a_database_that_cannot_be_opened(self, cache: VectorCache, folder: Path) -> None:
        folder.mkdir(parents=True)
        (folder / "vectors.sqlite").mkdir()
        with pytest.raises(CacheError, match="unable to open"):
            cache.get(keys_of(range(3)), DIMENSION)

    def test_files_of_others_are_left_alone(self, cache: VectorCache, folder: Path) -> None:
        folder.mkdir(parents=True)
        names = ["notes.txt", ".nfs000001", "1x32-0.segment", "x.segment.tmp", "x.damaged"]
        for name in names:
            (folder / name).touch()
        keys = fill(cache, range(3))
        assert_holds(cache, keys)
        cache.clear()
        kept = {"vectors.sqlite", "vectors.sqlite-journal", "vectors.lock"}
        assert sorted(path.name for path in folder.iterdir() if path.name not in kept) == sorted(names)

    def test_left_over_files_go_when_they_are_old(self, cache: VectorCache, folder: Path) -> None:
        folder.mkdir(parents=True)
        segment = f"3x{DIMENSION}-{'0' * 32}.segment"
        old, new = folder / f"{segment}.tmp", folder / f"{segment.replace('0', '1')}.tmp"
        asides = [folder / f"{segment}.damaged", folder / "vectors-0000.sqlite.damaged"]
        for path in (old, new, *asides):
            path.write_bytes(b"half")
        past = old.stat().st_mtime - TEMPORARY_AGE_S - 1
        for path in (old, *asides):
            os.utime(path, (past, past))
        fill(cache, range(1))
        assert not old.exists()
        assert {new, *asides} < set(folder.iterdir())
        assert cache.stats().damaged == 2
        for path in asides:
            os.utime(path, (1e9, 1e9))
        fill(again(cache), range(1, 2))
        assert not any(path.exists() for path in asides)
        cache.clear()
        assert not new.exists()

    def test_damaged_files_go_first_when_room_is_needed(self, folder: Path) -> None:
        cache = VectorCache(CacheSpec(str(folder), 1024**2))
        folder.mkdir(parents=True)
        (folder / "vectors-0000.sqlite.damaged").write_bytes(b"x" * 900_000)
        keys = fill(cache, range(1000))
        assert cache.stats().damaged == 0
        assert_holds(cache, keys)

    def test_no_folder_to_work_in(self, tmp_path: Path) -> None:
        (tmp_path / "file").touch()
        cache = VectorCache(CacheSpec(str(tmp_path / "file")))
        keys = keys_of(range(2))
        with pytest.raises(CacheError, match="embedded again"):
            cache.get(keys, DIMENSION)
        with pytest.raises(CacheError):
            cache.put(keys, vectors_of(keys))
        with pytest.raises(CacheError) as caught:
            VectorCache(CacheSpec(str(tmp_path / "file" / "below"))).put(keys, vectors_of(keys))
        copy = pickle.loads(pickle.dumps(caught.value))
        assert (str(copy), copy.folder) == (str(caught.value), str(tmp_path / "file" / "below"))

    def test_a_folder_removed_under_a_writer(self, cache: VectorCache, folder: Path) -> None:
        fill(cache, range(3))
        shutil.rmtree(folder)
        assert_holds(cache, fill(cache, range(5)))


class TestEarlierFormat:
    """A folder of immutable files, as the version before SQLite wrote it."""

    @pytest.fixture
    def earlier(self, cache: VectorCache, folder: Path) -> Path:
        with ZipFile(Path(__file__).parent / "data" / "cache-1.zip") as archive:
            archive.extractall(folder)
        for number, path in enumerate(files(folder, ".segment")):
            os.utime(path, (1e9 + number, 1e9 + number))
        return folder

    def assert_all(self, cache: VectorCache, less: int = 0) -> None:
        found = cache.get(keys_of(range(60)), DIMENSION)
        assert int(found.mask.sum()) == 60 - less
        assert np.array_equal(found.vectors, vectors_of(keys_of(range(60)))[found.mask])

    def test_its_vectors_are_found(self, cache: VectorCache, earlier: Path) -> None:
        oldest = again(cache).stats().oldest
        assert oldest is not None
        assert 1e9 <= oldest.timestamp() < 1e9 + 10, "they keep the times of their use"
        self.assert_all(cache)
        others = keys_of(range(5))
        assert np.array_equal(cache.get(others, DIMENSION + 1).vectors, vectors_of(others, DIMENSION + 1))
        assert not files(earlier, ".segment")
        assert len(files(earlier, ".model")) == 1
        assert not (earlier / "compaction.lock").exists()
        stats = again(cache).stats()
        assert (stats.entries, stats.damaged) == (65, 0)

    @pytest.mark.parametrize("ask", ["holds", "stats", "put", "clear"])
    def test_whatever_is_asked_first(self, cache: VectorCache, earlier: Path, ask: str) -> None:
        match ask:
            case "holds":
                assert cache.holds(keys_of(range(60)), DIMENSION).all()
            case "stats":
                assert cache.stats().entries == 65
            case "put":
                fill(cache, range(100, 110))
                assert_holds(again(cache), keys_of([*range(60), *range(100, 110)]))
            case _:
                assert cache.clear().entries == 65
                assert not again(cache).holds(keys_of(range(60)), DIMENSION).any()

    def test_processes_that_convert_it_at_once(self, cache: VectorCache, earlier: Path) -> None:
        barrier = threading.Barrier(4)

        def work(_: int) -> None:
            each = again(cache)
            barrier.wait(240)
            self.assert_all(each)

        with ThreadPoolExecutor(4) as pool:
            list(pool.map(work, range(4)))
        assert cache.stats().entries == 65

    @pytest.mark.parametrize("step", most_slow(range(4), but=[2]))
    def test_a_killed_conversion_goes_on(self, cache: VectorCache, earlier: Path, step: int) -> None:
        """Killed with SIGKILL after so many files were inserted, before the last of them is removed."""
        code = (
            "import os, signal, sys\n"
            "from pathlib import Path\n"
            "from prefect_ollama.blocks.cache import CacheSpec, VectorCache\n"
            "left = int(sys.argv[2])\n"
            "unlink = Path.unlink\n"
            "def killed(self, missing_ok=False):\n"
            "    global left\n"
            "    if self.suffix == '.segment':\n"
            "        if not left: os.kill(os.getpid(), signal.SIGKILL)\n"
            "        left -= 1\n"
            "    unlink(self, missing_ok)\n"
            "Path.unlink = killed\n"
            "VectorCache(CacheSpec(sys.argv[1])).stats()\n"
        )
        done = subprocess.run([sys.executable, "-c", code, str(earlier), str(step)], timeout=240, check=False)
        assert done.returncode == -signal.SIGKILL
        assert len(files(earlier, ".segment")) == 4 - step
        self.assert_all(cache)
        assert cache.stats().entries == 65

    def test_damaged_ones_give_what_is_sound(
        self, cache: VectorCache, earlier: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        first, second, third = (
            path for path in files(earlier, ".segment") if path.name.startswith(f"20x{DIMENSION}-")
        )
        content = bytearray(first.read_bytes())
        content[-1] ^= 1
        first.write_bytes(content)
        os.truncate(second, second.stat().st_size - 1)
        content = bytearray(third.read_bytes())
        content[30] ^= 1  # in its keys, so no row can be told
        third.write_bytes(content)
        self.assert_all(cache, less=22)
        assert caplog.text.count("is damaged") == 3
        assert not files(earlier, ".segment")

    def test_the_most_recently_used_stay_where_there_is_no_room(self, folder: Path, earlier: Path) -> None:
        """The limit holds while they are converted."""
        source = next(path for path in files(earlier, ".segment") if "x32-" in path.name)
        content = source.read_bytes()
        cache = VectorCache(CacheSpec(str(folder), 1024**2))
        self.assert_all(cache)
        assert cache.stats().bytes <= 1024**2
        (folder / source.name).write_bytes(content)
        self.assert_all(again(cache))
        assert again(cache).stats().entries == 65


@pytest.mark.skipif(not hasattr(os, "fork"), reason="only where processes fork")
def test_a_forked_process_has_a_connection_of_its_own(cache: VectorCache) -> None:
    """SQLite forbids to use or close a connection that a fork copied."""
    keys = fill(cache, range(10))
    child = os.fork()
    if child == 0:
        status = 1
        try:
            assert_holds(cache, keys)
            fill(cache, range(10, 20))
            status = 0
        finally:
            os._exit(status)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert_holds(cache, keys_of(range(20)))
    fill(cache, range(20, 30))
    assert_holds(again(cache), keys_of(range(30)))


def test_a_writer_waits_for_another_one(cache: VectorCache, folder: Path) -> None:
    fill(cache, range(3))
    with sqlite3.connect(folder / "vectors.sqlite", isolation_level=None, check_same_thread=False) as other:
        other.execute("BEGIN IMMEDIATE")
        with ThreadPoolExecutor(1) as pool:
            put = pool.submit(fill, again(cache), range(3, 6))
            assert_holds(again(cache), keys_of(range(3)))
            assert not put.done()
            other.execute("ROLLBACK")
            put.result(30)
    other.close()
    assert_holds(cache, keys_of(range(6)))


def test_a_disk_without_room(cache: VectorCache, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(cache, range(3))

    def full(*_: object, **__: object) -> None:
        error = sqlite3.OperationalError("database or disk is full")
        error.sqlite_errorcode = sqlite3.SQLITE_FULL
        raise error

    with monkeypatch.context() as patch:
        patch.setattr(_sql, "insert", full)
        with pytest.raises(CacheError, match=r"disk is full.*embedded again"):
            fill(cache, range(3, 6))
    assert_holds(cache, keys_of(range(3)))
    assert not files(folder, ".damaged")
