"""The vector cache in one process: what was put comes back and nothing else, whatever happens to its files."""

from __future__ import annotations

import logging
import os
import pickle
import shutil
import tempfile
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from prefect_ollama.blocks.cache import CacheSpec, VectorCache, VectorSalt, shared_cache, vector_keys
from prefect_ollama.blocks.cache import segment as segments
from prefect_ollama.blocks.cache.compaction import FAN, largest_segment, mergeable
from prefect_ollama.blocks.cache.folder import TEMPORARY_AGE, Folder
from prefect_ollama.blocks.cache.index import KeyIndex
from prefect_ollama.blocks.errors import CacheError, ConfigurationError
from tests.cache_worker import DIMENSION, SALT, keys_of, vectors_of

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


def files(folder: Path, suffix: str = segments.SUFFIX) -> list[Path]:
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
        assert (stats.entries, stats.segments, stats.damaged) == (150, 2, 0)
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
        assert cache.stats().segments == 0

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
            barrier.wait(30)
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
            assert {path.suffix for path in Path(folder).iterdir()} <= {".segment", ".lock"}


class TestLimit:
    limit = 2 * 1024**2

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
        assert cache.stats().bytes > self.limit - 2 * largest_segment(self.limit)

    def test_what_was_not_used_for_the_longest_time_goes_first(self, folder: Path) -> None:
        cache = VectorCache(CacheSpec(str(folder), self.limit))
        batches = [fill(cache, range(first, first + 1000)) for first in range(0, 12_000, 1000)]
        for path in files(folder):
            os.utime(path, (1e9, 1e9))
        assert_holds(again(cache), batches[4])  # in another process
        fresh = [fill(cache, range(first, first + 1000)) for first in range(20_000, 33_000, 1000)]
        held = [int(cache.get(batch, DIMENSION).mask.sum()) for batch in batches]
        assert held == [0] * 4 + [1000] + [0] * 7
        for batch in fresh:
            assert_holds(cache, batch)

    def test_more_than_the_limit_at_once(self, folder: Path) -> None:
        cache = VectorCache(CacheSpec(str(folder), 1024**2))
        keys = fill(cache, range(10_000))
        assert cache.stats().entries == 0
        assert not cache.get(keys, DIMENSION).mask.any()

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


class TestMerging:
    def test_many_small_writes_leave_few_files(self, cache: VectorCache, folder: Path) -> None:
        other = again(cache)
        for number in range(150):
            fill(cache, range(number, number + 1))
        assert len(files(folder)) < 3 * FAN
        assert_holds(cache, keys_of(range(150)))
        assert_holds(other, keys_of(range(150)))
        assert cache.stats().entries == 150

    def test_a_reader_follows_what_was_merged_under_it(self, cache: VectorCache, folder: Path) -> None:
        reader = again(cache)
        for number in range(FAN - 1):
            fill(cache, range(number, number + 1))
        assert_holds(reader, keys_of(range(FAN - 1)))
        before = files(folder)
        fill(cache, range(FAN - 1, FAN))
        assert not set(before) & set(files(folder))
        assert_holds(reader, keys_of(range(FAN)))

    def test_a_merger_that_was_killed_before_it_removed_anything(
        self, cache: VectorCache, folder: Path, tmp_path: Path
    ) -> None:
        for number in range(FAN - 1):
            fill(cache, range(number, number + 1))
        copies = [shutil.copy(path, tmp_path) for path in files(folder)]
        fill(cache, range(FAN - 1, FAN))
        for path in copies:
            shutil.copy(path, folder)
        assert_holds(again(cache), keys_of(range(FAN)))
        assert cache.stats().entries == 2 * FAN - 1
        fill(cache, range(FAN, FAN + 1))
        assert_holds(cache, keys_of(range(FAN + 1)))
        assert_holds(again(cache), keys_of(range(FAN + 1)))

    def test_what_was_cleared_does_not_come_back_with_a_merge(
        self, cache: VectorCache, folder: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        for number in range(FAN - 1):
            fill(cache, range(number, number + 1))
        publish = Folder.publish
        merges = 0

        def cleared_just_before(self: Folder, *args: Any, **options: Any) -> str:
            nonlocal merges
            if "replaces" in options:
                merges += 1
                again(cache).clear()
            return publish(self, *args, **options)

        monkeypatch.setattr(Folder, "publish", cleared_just_before)
        fill(cache, range(FAN - 1, FAN))
        assert merges == 1
        assert cache.stats().entries == 0
        assert not files(folder, ".tmp")
        assert not cache.get(keys_of(range(FAN)), DIMENSION).mask.any()

    def test_only_alike_segments_are_merged(self) -> None:
        def names(*shapes: tuple[int, int]) -> list[str]:
            return [segments.new_name(*shape) for shape in shapes]

        small, other = names(*[(60, 768)] * 8), names(*[(60, 384)] * 7)
        large = names(*[(20_000, 768)] * 20)
        assert sorted(mergeable([*small, *other, *large], 2**33)) == sorted(small)
        assert mergeable([*small[1:], *other, *large], 2**33) == []


class TestDamage:
    @pytest.fixture
    def damaged(self, cache: VectorCache, folder: Path) -> Path:
        fill(cache, range(20))
        return files(folder)[0]

    def assert_recovers(self, cache: VectorCache, folder: Path, caplog: pytest.LogCaptureFixture) -> int:
        """Read by one who knows the keys and one who doesn't; return how many vectors were rescued."""
        keys = keys_of(range(20))
        for each in (cache, again(cache)):
            found = each.get(keys, DIMENSION)
            assert np.array_equal(found.vectors, vectors_of(keys)[found.mask])
        rescued = int(found.mask.sum())
        assert len(files(folder, ".damaged")) == cache.stats().damaged == 1
        [message] = [each.message for each in caplog.records if each.levelno == logging.WARNING]
        assert "damaged" in message
        assert f"{rescued} of its 20 vectors" in message
        fill(cache, range(20))
        assert_holds(cache, keys)
        assert_holds(again(cache), keys)
        assert cache.clear().damaged == 1
        assert not files(folder, ".damaged")
        return rescued

    @pytest.mark.parametrize(
        ("length", "rescued"),
        [(0, 0), (3, 0), (19, 0), (20, 0), (100, 0), (339, 0), (340, 0), (471, 0), (472, 1), (2979, 19)],
    )
    def test_truncated(
        self,
        cache: VectorCache,
        folder: Path,
        damaged: Path,
        caplog: pytest.LogCaptureFixture,
        length: int,
        rescued: int,
    ) -> None:
        assert damaged.stat().st_size == 20 + 20 * (16 + 132) == 2980
        os.truncate(damaged, length)
        assert self.assert_recovers(cache, folder, caplog) == rescued

    @pytest.mark.parametrize(
        ("place", "rescued"),
        [(0, 0), (8, 0), (13, 0), (17, 0), (20, 0), (339, 0), (340, 19), (469, 19), (2979, 19)],
    )
    def test_one_wrong_bit(
        self,
        cache: VectorCache,
        folder: Path,
        damaged: Path,
        caplog: pytest.LogCaptureFixture,
        place: int,
        rescued: int,
    ) -> None:
        content = bytearray(damaged.read_bytes())
        content[place] ^= 1
        damaged.write_bytes(content)
        assert_recovered = self.assert_recovers
        if place < 340:  # one who knows the keys does not read them again, and its vectors are right
            cache = again(cache)
        assert assert_recovered(cache, folder, caplog) == rescued

    def test_a_longer_file(
        self, cache: VectorCache, folder: Path, damaged: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        with damaged.open("ab") as file:
            file.write(b"more")
        assert self.assert_recovers(again(cache), folder, caplog) == 20

    def test_rows_that_changed_places(
        self, cache: VectorCache, folder: Path, damaged: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        """Both are finite and of norm 1, and each is another text's."""
        content = damaged.read_bytes()
        start, row = 20 + 20 * 16, DIMENSION * 4 + 4
        first, second = content[start : start + row], content[start + row : start + 2 * row]
        damaged.write_bytes(content[:start] + second + first + content[start + 2 * row :])
        assert self.assert_recovers(cache, folder, caplog) == 18

    def test_another_segments_content(self, cache: VectorCache, folder: Path) -> None:
        fill(cache, range(20))
        fill(cache, range(20, 40))
        first, second = files(folder)
        shutil.copy(second, first)
        for each in (cache, again(cache)):
            found = each.get(keys_of(range(40)), DIMENSION)
            assert np.array_equal(found.vectors, vectors_of(keys_of(range(40)))[found.mask])

    def test_found_by_a_merge(
        self, cache: VectorCache, folder: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        for number in range(0, 20 * (FAN - 1), 20):
            fill(cache, range(number, number + 20))
        content = bytearray(files(folder)[2].read_bytes())
        content[-1] ^= 1
        files(folder)[2].write_bytes(content)
        fill(cache, range(1000, 1020))
        assert cache.stats().damaged == 1
        found = cache.get(keys_of(range(20 * (FAN - 1))), DIMENSION)
        assert int(found.mask.sum()) == 20 * (FAN - 1) - 1
        assert "damaged" in caplog.text

    @given(data=st.data())
    @settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
    def test_whatever_happens_to_a_file_no_vector_is_wrong(self, data: st.DataObject) -> None:
        with tempfile.TemporaryDirectory() as name:
            cache = VectorCache(CacheSpec(name, LIMIT))
            keys = fill(cache, range(20))
            [path] = files(Path(name))
            content = bytearray(path.read_bytes())
            for _ in range(data.draw(st.integers(1, 4))):
                start = data.draw(st.integers(0, len(content)))
                content[start : start + data.draw(st.integers(0, 200))] = data.draw(st.binary(max_size=200))
            path.write_bytes(content)
            for each in (cache, again(cache)):
                found = each.get(keys, DIMENSION)
                assert np.array_equal(found.vectors, vectors_of(keys)[found.mask])
            fill(cache, range(20))
            assert_holds(again(cache), keys)

    def test_a_segment_that_cannot_be_read(
        self, cache: VectorCache, folder: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        folder.mkdir(parents=True)
        (folder / segments.new_name(3, DIMENSION)).mkdir()
        keys = fill(cache, range(3))
        assert_holds(cache, keys)
        cache.get(keys_of([5]), DIMENSION)
        assert len([each for each in caplog.records if "cannot be read" in each.message]) == 1

    def test_files_of_others_are_left_alone(self, cache: VectorCache, folder: Path) -> None:
        folder.mkdir(parents=True)
        names = ["notes.txt", ".nfs000001", "1x32-0.segment", "x.segment.tmp", "x.damaged"]
        for name in names:
            (folder / name).touch()
        keys = fill(cache, range(3))
        assert_holds(cache, keys)
        cache.clear()
        assert sorted(path.name for path in folder.iterdir()) == sorted(names)

    def test_left_over_files_go_when_they_are_old(self, cache: VectorCache, folder: Path) -> None:
        folder.mkdir(parents=True)
        old, new, aside = (
            folder / (segments.new_name(3, DIMENSION) + suffix) for suffix in (".tmp", ".tmp", ".damaged")
        )
        for path in (old, new, aside):
            path.write_bytes(b"half")
        fill(cache, range(1))
        assert {old, new, aside} < set(folder.iterdir())
        past = old.stat().st_mtime - TEMPORARY_AGE - 1
        os.utime(old, (past, past))
        os.utime(aside, (past, past))
        fill(cache, range(1, 2))
        assert not old.exists()
        assert new.exists()
        assert aside.exists()
        os.utime(aside, (1e9, 1e9))
        fill(cache, range(2, 3))
        assert not aside.exists()
        cache.clear()
        assert not new.exists()

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


class TestIndex:
    chunks = st.lists(
        st.tuples(st.lists(st.integers(0, 40), min_size=1, max_size=12), st.booleans()), max_size=25
    )

    @given(chunks=chunks)
    @settings(max_examples=80)
    def test_finds_a_living_copy_of_each_key(self, chunks: list[tuple[list[int], bool]]) -> None:
        index = KeyIndex()
        living: dict[str, list[int]] = {}
        for numbers, drop in chunks:
            if drop and living:
                gone = next(iter(living))
                del living[gone]
                index.drop([gone])
            name = segments.new_name(len(numbers), 3)
            # All heads are equal in pairs.
            index.add([(name, np.array([(number // 2, number) for number in numbers], np.uint64))])
            living[name] = numbers
            asked = np.arange(42)
            where, rows = index.locate(np.stack([asked // 2, asked], 1).astype(np.uint64), 3)
            for number in asked:
                segment = index.name(int(where[number]))
                if segment is None:
                    assert not any(number in each for each in living.values())
                else:
                    assert living[segment][rows[number]] == number

    def test_an_entry_takes_24_bytes_and_leaves_with_its_segment(self) -> None:
        index = KeyIndex()
        names = [segments.new_name(500, 768) for _ in range(100)]
        rng = np.random.default_rng(1)
        for name in names:
            index.add([(name, rng.integers(2**63, size=(500, 2), dtype=np.uint64))])
        assert index.nbytes == 24 * 50_000
        index.drop(names[:90])
        assert index.nbytes <= 24 * 10_000
        index.drop(names)
        assert index.nbytes == 0
