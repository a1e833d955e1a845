"""What other users of the machine put into our folders, or hold there, changes nothing for a run."""

from __future__ import annotations

import contextlib
import logging
import os
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from prefect import flow, task
from prefect.cache_policies import CacheKeyFnPolicy
from prefect.filesystems import LocalFileSystem
from prefect.settings import PREFECT_HOME, PREFECT_LOCAL_STORAGE_PATH, temporary_settings

from prefect_ollama.blocks.cache import CacheSpec, VectorCache
from prefect_ollama.blocks.errors import CacheError, FolderNotPrivate
from prefect_ollama.blocks.lance import Store, StoreSpec
from prefect_ollama.blocks.lance import _write_lock as write_lock
from prefect_ollama.blocks.lance.opening import connect
from prefect_ollama.blocks.private_files import open_private, private_folder
from prefect_ollama.tasks.dispatch._shared_limits import SharedLimits
from prefect_ollama.tasks.prefect_state import KEY
from prefect_ollama.tasks.prefect_state.persisted_results import PersistedResults
from prefect_ollama.tasks.prefect_state.private_home import keep_home_private
from tests.other_user import UID, as_other, needs_root, open_folder
from tests.store_samples import IDENTITY


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.fixture
def shared() -> Iterator[Path]:
    """A folder like `/tmp`."""
    with open_folder() as folder:
        yield folder


@contextlib.contextmanager
def locked_by_another(path: Path) -> Iterator[None]:
    """The lock of a file, held by another user who may read it."""
    with subprocess.Popen(
        ["/bin/sh", "-euc", 'exec 9< "$1"; flock -x 9; echo held; cat > /dev/null', "sh", str(path)],
        user=UID,
        group=UID,
        extra_groups=[],
        cwd="/",
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdin is not None
        assert holder.stdout.readline() == b"held\n"
        try:
            yield
        finally:
            holder.stdin.close()


class TestFolders:
    def test_new_one_and_its_new_parents_are_private(self, tmp_path: Path) -> None:
        private_folder(tmp_path / "a" / "b")
        assert (mode(tmp_path / "a"), mode(tmp_path / "a" / "b")) == (0o700, 0o700)

    def test_one_of_an_earlier_version_is_closed(self, tmp_path: Path) -> None:
        tmp_path.chmod(0o777)
        assert private_folder(tmp_path) == tmp_path
        assert mode(tmp_path) == 0o700

    @needs_root
    @pytest.mark.parametrize("what", ["folder", "link"])
    def test_one_of_another_user_is_refused(self, shared: Path, tmp_path: Path, what: str) -> None:
        path = shared / "ours"
        as_other('mkdir -m 777 "$1"' if what == "folder" else 'ln -s "$2" "$1"', path, tmp_path)
        with pytest.raises(
            FolderNotPrivate, match=f"belongs to the user with the id {UID}.*Nothing in it was read"
        ):
            private_folder(path)

    def test_link_of_our_own_is_followed(self, tmp_path: Path) -> None:
        (tmp_path / "disk").mkdir(mode=0o755)
        (tmp_path / "link").symlink_to(tmp_path / "disk")
        private_folder(tmp_path / "link")
        assert mode(tmp_path / "disk") == 0o700

    def test_file_in_its_place_is_no_folder(self, tmp_path: Path) -> None:
        (tmp_path / "file").touch()
        with pytest.raises(OSError, match="not a folder"):
            private_folder(tmp_path / "file")


class TestLocks:
    def test_file_is_private_whatever_the_umask(self, tmp_path: Path) -> None:
        before = os.umask(0)
        try:
            os.close(open_private(tmp_path / "lock"))
        finally:
            os.umask(before)
        assert mode(tmp_path / "lock") == 0o600

    def test_link_is_not_followed(self, tmp_path: Path) -> None:
        (tmp_path / "lock").symlink_to(tmp_path / "elsewhere")
        with pytest.raises(OSError):  # noqa: PT011
            open_private(tmp_path / "lock")
        assert not (tmp_path / "elsewhere").exists()

    @needs_root
    def test_of_a_table_is_had_although_another_user_holds_that_of_an_earlier_version(
        self, shared: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(write_lock, "LOCK_TIMEOUT_S", 600.0)  # to wait for it would end the test
        spec = StoreSpec(str(shared), "mine")
        path = shared / ".mine.lock"
        path.touch(mode=0o644)
        with locked_by_another(path), write_lock.WriteLock(spec).held() as alone:
            assert alone
            assert mode(path) == 0o600

    @needs_root
    def test_of_another_user_is_not_waited_for(self, shared: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(write_lock, "LOCK_TIMEOUT_S", 600.0)
        path = shared / ".mine.lock"
        as_other('touch "$1"; chmod 666 "$1"', path)
        with locked_by_another(path), write_lock.WriteLock(StoreSpec(str(shared), "mine")).held() as alone:
            assert not alone

    @needs_root
    def test_meeting_folder_of_another_user_is_done_without(
        self, shared: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        folder = shared / "nodes"
        as_other('mkdir -m 777 "$1"; touch "$1/gate"; chmod 666 "$1/gate"', folder)
        with locked_by_another(folder / "gate"):
            other_run = SharedLimits(folder)
        assert other_run.take("http://a", 1).taken
        assert "do not see each other" in caplog.text

    def test_meeting_folder_is_private(self, tmp_path: Path) -> None:
        folder = tmp_path / "nodes"
        folder.mkdir(mode=0o755)
        (folder / "gate").touch(mode=0o644)
        other_run = SharedLimits(folder)
        try:
            assert mode(folder) == 0o700
            assert {mode(path) for path in folder.iterdir()} == {0o600}
        finally:
            other_run.close()


class TestTable:
    def test_folder_that_we_make_is_private_and_one_that_exists_stays_as_it_is(self, tmp_path: Path) -> None:
        theirs = tmp_path / "shared"
        theirs.mkdir(mode=0o755)
        theirs.chmod(0o775)
        for folder in (theirs, tmp_path / "new"):
            connect(StoreSpec(str(folder), "t"))
        assert (mode(theirs), mode(tmp_path / "new")) == (0o775, 0o700)


class TestCache:
    KEYS = (b"k" * 16, b"l" * 16)
    VECTORS = np.full((2, 4), 0.5, np.float32)

    def planted(self, folder: Path) -> None:
        """Have a cache hold two vectors, in files of another user."""
        VectorCache(CacheSpec(str(folder))).put(self.KEYS, self.VECTORS)
        for path in folder.iterdir():
            os.chown(path, UID, UID)

    @needs_root
    def test_vectors_of_another_user_are_not_believed(self, tmp_path: Path) -> None:
        self.planted(tmp_path)
        tmp_path.chmod(0o777)
        cache = VectorCache(CacheSpec(str(tmp_path)))
        assert not cache.get(self.KEYS, 4).mask.any()
        assert mode(tmp_path) == 0o700
        cache.put(self.KEYS, -self.VECTORS)
        assert (cache.get(self.KEYS, 4).vectors == -0.5).all()

    @needs_root
    def test_folder_of_another_user_is_refused(self, shared: Path) -> None:
        folder = shared / "vectors"
        as_other('mkdir -m 777 "$1"', folder)
        cache = VectorCache(CacheSpec(str(folder)))
        for use in (lambda: cache.get(self.KEYS, 4), lambda: cache.put(self.KEYS, self.VECTORS), cache.stats):
            with pytest.raises(CacheError, match=r"cannot be used: .*belongs to the user.*embedded again"):
                use()
        assert not list(folder.iterdir())


class Planted:
    """Something that runs code when it is unpickled."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> Any:
        return Path.touch, (self.marker,)


def same_key(*_: Any) -> str:
    return f"{KEY}planted"


@pytest.mark.usefixtures("prefect_server")
class TestResults:
    @pytest.fixture
    def storage(self, tmp_path: Path) -> Iterator[Path]:
        folder = tmp_path / "storage"
        with temporary_settings({PREFECT_LOCAL_STORAGE_PATH: folder}):
            yield folder

    def plant(self, folder: Path, marker: Path, block: LocalFileSystem | None = None) -> Any:
        """Leave a result that another user wrote; return a flow whose task would take it for its own."""

        @task(cache_policy=CacheKeyFnPolicy(cache_key_fn=same_key), persist_result=True)
        def work(what: Any) -> Any:
            return what

        @flow(result_storage=block)
        def run(what: Any, *, guarded: bool) -> Any:
            return (PersistedResults().of(work) if guarded else work)(what)

        run(Planted(marker), guarded=False)
        for path in folder.rglob("*"):
            os.chown(path, UID, UID)
        folder.chmod(0o777)
        marker.unlink(missing_ok=True)
        assert run("mine", guarded=False) != "mine", "the attack works where nothing is in its way"
        assert marker.exists()
        marker.unlink()
        return run

    @needs_root
    def test_of_another_user_is_deleted_unread(
        self, storage: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        run = self.plant(storage, tmp_path / "ran")
        assert run("mine", guarded=True) == "mine"
        assert not (tmp_path / "ran").exists()
        assert mode(storage) == 0o700
        assert "another user wrote it" in caplog.text

    @needs_root
    def test_of_a_folder_that_others_can_write_to_is_not_read(
        self, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        folder = tmp_path / "chosen"
        folder.mkdir()
        block = LocalFileSystem(basepath=str(folder))
        block.save("chosen-results", overwrite=True)
        run = self.plant(folder, tmp_path / "ran", block)
        assert run("mine", guarded=True) == "mine"
        assert not (tmp_path / "ran").exists()
        assert mode(folder) == 0o777, "its rights are its owner's to choose"
        assert "Results of bundles are not kept" in caplog.text


@pytest.mark.parametrize(("folder", "of_database"), [("new", 0o700), ("shared", 0o750)])
def test_a_table_is_open_to_no_others_than_its_database_whatever_the_umask(
    tmp_path: Path, folder: str, of_database: int
) -> None:
    (tmp_path / "shared").mkdir()
    (tmp_path / "shared").chmod(0o750)
    spec = StoreSpec(str(tmp_path / folder / "db" if folder == "new" else tmp_path / folder), "papers")
    before = os.umask(0o022)
    try:
        Store.open(spec, identity=IDENTITY, create=True)
    finally:
        os.umask(before)
    assert mode(Path(spec.uri)) == of_database
    assert {mode(Path(spec.uri, f"{name}.lance")) for name in spec.tables} == {of_database}


@pytest.mark.usefixtures("prefect_server")
class TestHome:
    def test_is_closed_at_the_start_of_a_run(self, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
        home = tmp_path / "home"
        home.mkdir(mode=0o755)

        @flow
        def run() -> None:
            keep_home_private()

        with temporary_settings({PREFECT_HOME: home}):
            run()
            assert mode(home) == 0o700
            assert "can no longer enter" in caplog.text
            caplog.clear()
            run()
        assert "can no longer enter" not in caplog.text

    @needs_root
    def test_of_another_user_is_warned_of(self, shared: Path, caplog: pytest.LogCaptureFixture) -> None:
        as_other('mkdir -m 755 "$1"', shared / "home")

        @flow
        def run() -> None:
            keep_home_private()

        with temporary_settings({PREFECT_HOME: shared / "home"}), caplog.at_level(logging.WARNING):
            run()
        assert "cannot be closed to other users" in caplog.text


@needs_root
@pytest.mark.slow
def test_command_line_imports_nothing_from_the_working_folder(shared: Path, tmp_path: Path) -> None:
    names = ("lancedb", "cyclopts", "prefect", "rich", "httpx")
    code = f"open({str(shared / 'ran')!r}, 'a').write(__name__)"
    as_other(f'cd "$1"; shift; for name; do echo "{code}" > "$name.py"; done', shared, *names)
    done = subprocess.run(
        [sys.executable, "-m", "prefect_ollama", "cache"],
        cwd=shared,
        env=os.environ | {"PREFECT_HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert not (shared / "ran").exists()
