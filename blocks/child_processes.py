"""Child processes that end with their parent, however the parent ends.

Guarantees: on Linux, the kernel kills a process that has called `end_with_parent` as soon as its parent is gone, even
if it is inside a library that reads no pipe and handles no signal. On other systems it ends when it next reads its
stdin.
"""

import ctypes
import os
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final

# From linux/prctl.h. Python has no function for it.
_PR_SET_PDEATHSIG: Final = 1

# One thread for all processes, which lives as long as this process (see `start_tied`).
_starter: ThreadPoolExecutor | None = None


def start_tied(command: list[str], **options: Any) -> subprocess.Popen[Any]:
    """Start a process whose program calls `end_with_parent`.

    For the kernel, the parent is the thread that started a process, and not that thread's process (prctl(2),
    PR_SET_PDEATHSIG). So one thread, which lives as long as this process, starts all child processes.

    Args:
        command: As for `subprocess.Popen`.
        options: As for `subprocess.Popen`. With a pipe as stdin, the child also notices a parent that ended before the
            child called `end_with_parent`.

    Raises:
        OSError: It cannot be started.
    """
    global _starter
    if _starter is None:
        _starter = ThreadPoolExecutor(1, "starter")
    return _starter.submit(lambda: subprocess.Popen(command, **options)).result()


def end_with_parent() -> None:
    """Let the kernel kill this process when its parent ends."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)


def _forget() -> None:
    global _starter
    _starter = None  # threads do not survive a fork


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)
