"""Locks on texts between processes: one embeds a text, and who is killed leaves nothing locked."""

from __future__ import annotations

import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from prefect_ollama.blocks.cache import VectorSalt, vector_keys
from prefect_ollama.tasks.embedding._single_flight import TextLocks

HOLDER = """
import sys
from pathlib import Path
from prefect_ollama.tasks.embedding._single_flight import TextLocks
locks = TextLocks(Path(sys.argv[1]))
keys = {text: bytes.fromhex(text) for text in sys.argv[2:]}
with locks.hold(keys) as held:
    print(*sorted(held), flush=True)
    for line in sys.stdin:
        locks.release([bytes.fromhex(line.strip())])
        print("released", flush=True)
print("ended", flush=True)
sys.stdout.flush()
"""

A, B, C = (key.hex() for key in vector_keys(VectorSalt("model", "", 8), ["a", "b", "c"]))


@contextmanager
def holder(folder: Path, *keys: str) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(folder), *keys],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with process:
        try:
            yield process
        finally:
            process.kill()


def says(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def held(folder: Path, *keys: str) -> set[str]:
    with TextLocks(folder).hold({key: bytes.fromhex(key) for key in keys}) as mine:
        return set(mine)


def test_what_another_process_holds_is_not_held_here(tmp_path: Path) -> None:
    with holder(tmp_path / "locks", A, B) as other:
        assert says(other) == " ".join(sorted([A, B]))
        assert held(tmp_path / "locks", A, B, C) == {C}
        assert other.stdin is not None
        other.stdin.write(A + "\n")
        other.stdin.flush()
        assert says(other) == "released"
        assert held(tmp_path / "locks", A, B) == {A}
        other.stdin.close()
        assert says(other) == "ended"
        assert held(tmp_path / "locks", A, B) == {A, B}


def test_a_process_that_is_killed_holds_nothing(tmp_path: Path) -> None:
    with holder(tmp_path / "locks", A, B) as other:
        says(other)
        other.kill()
        other.wait()
        assert held(tmp_path / "locks", A, B) == {A, B}


def test_nobody_else_can_lock_the_files(tmp_path: Path) -> None:
    held(tmp_path / "locks", A)
    assert stat.S_IMODE((tmp_path / "locks").stat().st_mode) == 0o700
    assert {stat.S_IMODE(file.stat().st_mode) for file in (tmp_path / "locks").iterdir()} == {0o600}


def test_without_a_folder_nothing_is_locked_and_all_is_held(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    assert held(tmp_path / "file", A, B) == {A, B}


@pytest.mark.parametrize("number", [0, 1, 2])
@pytest.mark.sampled(1)
def test_many_texts_have_locks_of_their_own(tmp_path: Path, number: int) -> None:
    keys = [key.hex() for key in vector_keys(VectorSalt("model", "", 8), [str(i) for i in range(900)])]
    with holder(tmp_path / "locks", *keys[number::3]) as other:
        assert len(says(other).split()) == 300
        assert held(tmp_path / "locks", *keys) == set(keys) - set(keys[number::3])
