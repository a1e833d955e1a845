"""A Prefect server as a process of its own, which can be killed and comes back on the same port and database."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import TracebackType
from typing import Self

import httpx

from tests.nodes.ports import bound

START_SECONDS = 600.0


class PrefectServer:
    """`prefect server start` on loopback.

    Args:
        home: Folder for its database and its log.
    """

    def __init__(self, home: Path) -> None:
        home.mkdir(parents=True, exist_ok=True)
        self.log = home / "server.log"
        # Held also while the server is down: no client's own port may take it before the server is back.
        self._held = bound()
        self.port = int(self._held.getsockname()[1])
        self._env = {
            **{name: value for name, value in os.environ.items() if name != "PREFECT_API_URL"},
            "PREFECT_HOME": str(home),
            "PREFECT_PROFILES_PATH": str(home / "profiles.toml"),
            "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
            "DO_NOT_TRACK": "1",
        }
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """URL of its API."""
        return f"http://127.0.0.1:{self.port}/api"

    @property
    def pid(self) -> int:
        """Id of its process, which leads a session of its own."""
        assert self._process is not None
        return self._process.pid

    @property
    def running(self) -> bool:
        """Whether its process is there."""
        return self._process is not None and self._process.poll() is None

    def start(self) -> Self:
        """Start it; `ready` waits for it."""
        assert not self.running
        arguments = ("server", "start", "--host", "127.0.0.1", "--port", str(self.port), "--no-ui")
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "prefect", *arguments],
                env=self._env,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        return self

    def ready(self) -> Self:
        """Wait until it answers.

        Raises:
            RuntimeError: It ended instead, or took longer than `START_SECONDS`.
        """
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline and self.running:
            try:
                if httpx.get(f"{self.url}/health", timeout=5, trust_env=False).status_code == 200:
                    return self
            except httpx.TransportError:
                time.sleep(0.1)
        raise RuntimeError(f"the Prefect server did not start; see {self.log}")

    def up(self) -> Self:
        """Start it if it is not there, and wait until it answers.

        Raises:
            RuntimeError: See `ready`.
        """
        return (self if self.running else self.start()).ready()

    def kill(self) -> None:
        """SIGKILL, with all that it started."""
        if self._process is not None:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
            self._process = None

    def __enter__(self) -> Self:
        """Start it and wait until it answers."""
        return self.start().ready()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End it."""
        self.kill()
        self._held.close()
