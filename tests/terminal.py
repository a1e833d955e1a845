"""A command in a terminal of its own, where Ctrl-C reaches all processes of the foreground, as it does for a user."""

from __future__ import annotations

import fcntl
import os
import pty
import subprocess
import termios
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

CTRL_C = b"\x03"


class Terminal:
    """Runs a command until it ends; killed with all its session at the end of the `with` block."""

    def __init__(self, command: Sequence[str | Path], *, cwd: Path, env: Mapping[str, str]) -> None:
        self._ours, theirs = pty.openpty()
        self.before = termios.tcgetattr(theirs)
        self.began = time.monotonic()
        self.process = subprocess.Popen(
            [str(part) for part in command],
            cwd=cwd,
            env=env,
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            start_new_session=True,
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
        )
        self._theirs = theirs
        self._said = bytearray()
        self._news = threading.Condition()
        self._over = False
        threading.Thread(target=self._read, daemon=True).start()

    @property
    def said(self) -> str:
        """All that was written to the terminal."""
        with self._news:
            return self._text()

    def _text(self) -> str:
        return self._said.decode(errors="replace")

    def wait_for(self, is_there: Callable[[str], bool], *, seconds: float = 240) -> float:
        """Wait until what was written is as wanted; return how many seconds after the start that was."""
        with self._news:
            self._news.wait_for(lambda: is_there(self._text()) or self._over, timeout=seconds)
            assert is_there(self._text()), self._text()
        return time.monotonic() - self.began

    def press(self, keys: bytes) -> None:
        os.write(self._ours, keys)

    def end(self, *, seconds: float = 240) -> tuple[int, float]:
        """Wait for the end; return the exit status and how many seconds after the start that was."""
        status = self.process.wait(seconds)
        return status, time.monotonic() - self.began

    def is_sane(self) -> bool:
        """Whether the terminal is as it was: its settings, and its cursor to be seen."""
        shown, hidden = self.said.rfind("\x1b[?25h"), self.said.rfind("\x1b[?25l")
        return termios.tcgetattr(self._theirs) == self.before and shown >= hidden

    def _read(self) -> None:
        while True:
            try:
                data = os.read(self._ours, 65536)
            except OSError:
                data = b""
            with self._news:
                self._said += data
                self._over = not data
                self._news.notify_all()
            if not data:
                return

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.process.poll() is None:
            os.killpg(self.process.pid, 9)
            self.process.wait(240)
        os.close(self._theirs)
        os.close(self._ours)
