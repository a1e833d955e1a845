"""The models that a cache knows: one id for the vectors of one model, in all processes and at all times."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from prefect_ollama.blocks.cache import CacheSpec, VectorCache
from prefect_ollama.blocks.errors import CacheError
from prefect_ollama.blocks.nodes.canaries import CANARIES
from prefect_ollama.blocks.nodes.fingerprint import Fingerprint
from tests.nodes import expected_vector

DIMENSION = 16
ROOT = Path(__file__).parent.parent


def fingerprint(weights: str = "a", cosine: float = 1.0, **says: str) -> Fingerprint:
    vectors = np.stack([expected_vector(text, DIMENSION, weights, cosine=cosine) for text in CANARIES])
    return Fingerprint.measured(CANARIES, vectors, **says)


def cache(folder: Path) -> VectorCache:
    """The folder as another process sees it."""
    return VectorCache(CacheSpec(str(folder)))


def models(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.model"))


def test_vectors_of_one_model_have_one_id(tmp_path: Path) -> None:
    """CPU and GPU differ in the last digits; so do digests and names of the same weights."""
    cpu, gpu = fingerprint(), fingerprint(cosine=1 - 5e-6, digest="other", model="alias")
    assert cpu.id != gpu.id
    known = cache(tmp_path).model_id(cpu)
    assert cache(tmp_path).model_id(gpu) == cache(tmp_path).model_id(cpu) == known
    assert len(models(tmp_path)) == 1


def test_other_vectors_have_another_id(tmp_path: Path) -> None:
    one = cache(tmp_path)
    others = [fingerprint(), fingerprint("b"), fingerprint(cosine=0.9997), fingerprint(cosine=1 - 6e-5)]
    assert len({one.model_id(each) for each in others}) == len(others)
    same = {"digest": "d", "version": "0.33.0", "quantization": "F16"}
    assert one.model_id(fingerprint("c", **same)) != one.model_id(fingerprint("c", cosine=0.9997, **same))


def test_processes_that_meet_a_model_at_once_agree(tmp_path: Path) -> None:
    """Each has slightly other vectors, and so another id of its own; from then on all take the same one."""
    code = (
        "import sys\n"
        "from pathlib import Path\n"
        "from tests.test_cache_models import cache, fingerprint\n"
        "made = fingerprint(cosine=1 - int(sys.argv[2]) * 1e-7)\n"
        "print('ready', flush=True); sys.stdin.readline()\n"
        "print(cache(Path(sys.argv[1])).model_id(made), flush=True)\n"
    )
    at_once = [
        subprocess.Popen(
            [sys.executable, "-c", code, str(tmp_path), str(number)],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for number in range(1, 4)
    ]
    for process in at_once:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    for process in at_once:
        process.communicate("go\n", timeout=240)
        assert process.returncode == 0
    assert 1 <= len(models(tmp_path)) <= len(at_once)
    assert len({cache(tmp_path).model_id(fingerprint(cosine=1 - k * 1e-7)) for k in range(6)}) == 1


def test_of_two_that_wrote_at_the_same_moment_the_earlier_counts(tmp_path: Path) -> None:
    for name in ("early", "late"):
        cache(tmp_path / name).model_id(fingerprint(cosine=1 - 1e-6 * len(name)))
    (early,), (late,) = models(tmp_path / "early"), models(tmp_path / "late")
    for path in (late, early):
        (tmp_path / path.name).write_bytes(path.read_bytes())
    wanted = cache(tmp_path / "early").model_id(fingerprint())
    assert {cache(tmp_path).model_id(fingerprint()) for _ in range(3)} == {wanted}


def test_a_killed_writer_leaves_nothing_that_counts(tmp_path: Path) -> None:
    known = cache(tmp_path).model_id(fingerprint())
    (path,) = models(tmp_path)
    half = path.read_bytes()[: path.stat().st_size // 2]
    fresh, stale = (tmp_path / f"{name}-00000000.model.tmp" for name in ("0" * 16, "1" * 16))
    for left in (fresh, stale):
        left.write_bytes(half)
    os.utime(stale, (time.time() - 7200,) * 2)
    assert cache(tmp_path).model_id(fingerprint()) == known
    cache(tmp_path).model_id(fingerprint("b"))
    assert fresh.exists()
    assert not stale.exists()


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff\xfe", b'{"time_ns": 1, "fingerprint": {}}'])
def test_a_damaged_file_counts_as_missing(
    tmp_path: Path, content: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    cache(tmp_path).model_id(fingerprint())
    (path,) = models(tmp_path)
    path.write_bytes(content)
    known = cache(tmp_path).model_id(fingerprint(cosine=1 - 1e-6))
    assert "counts as missing" in caplog.text
    assert cache(tmp_path).model_id(fingerprint()) == known


def test_a_folder_that_was_emptied_gets_the_id_back(tmp_path: Path) -> None:
    one = cache(tmp_path / "cache")
    known = one.model_id(fingerprint())
    for path in (tmp_path / "cache").iterdir():
        path.unlink()
    (tmp_path / "cache").rmdir()
    assert one.model_id(fingerprint()) == known
    assert cache(tmp_path / "cache").model_id(fingerprint()) == known


def test_clearing_the_cache_keeps_what_it_knows_of_models(tmp_path: Path) -> None:
    one = cache(tmp_path)
    known = one.model_id(fingerprint())
    one.clear()
    assert cache(tmp_path).model_id(fingerprint()) == known
    assert one.stats().entries == 0


def test_a_folder_that_cannot_be_used_says_so(tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("a file")
    with pytest.raises(CacheError, match=r"it is not a folder"):
        cache(tmp_path / "cache").model_id(fingerprint())
