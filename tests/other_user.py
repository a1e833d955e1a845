"""Another user of this machine, who may do what a user without rights may."""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

UID = 65534
"""`nobody`."""

needs_root = pytest.mark.skipif(os.getuid() != 0, reason="only root can act as another user")


def as_other(script: str, *arguments: str | Path) -> str:
    """Run a shell script as the other user and return what it prints."""
    done = subprocess.run(
        ["/bin/sh", "-euc", script, "sh", *map(str, arguments)],
        user=UID,
        group=UID,
        extra_groups=[],
        cwd="/",
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@contextmanager
def open_folder() -> Iterator[Path]:
    """A folder like `/tmp`: everybody may write to it, and remove only what is theirs."""
    with tempfile.TemporaryDirectory(prefix="open-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        folder.chmod(0o1777)
        yield folder
