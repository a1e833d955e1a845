"""Prefect's server as a run sees it: it must be there when the run begins and when it ends.

Guarantees: an outage in between stops nothing, and is told in the run's log; a run that is done does not end before
the server can be told so, but waits for it for `SERVER_TIMEOUT_S`; then the error says what is kept.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from typing import Final

import httpx
from prefect.client.base import ServerType
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.settings import PREFECT_CLIENT_MAX_RETRIES, temporary_settings

from prefect_ollama.blocks.errors import ServerLost
from prefect_ollama.blocks.periodic import PeriodicThread
from prefect_ollama.tasks.prefect_state import run_logger

# Seconds that a run which is done waits for a server that does not answer.
SERVER_TIMEOUT_S: Final = 600.0

# Seconds between two looks at the server; to start anew takes one longer than that.
LOOK_EVERY: Final = 3.0

ANSWER_SECONDS: Final = 5.0


class ServerWatch:
    """Looks at the server until it is closed, and tells the log of the current flow run when it is gone and back.

    Attributes:
        missed: How often the server did not answer. Whatever it was told shortly before may be lost then.
    """

    def __init__(self) -> None:
        self.missed = 0
        self._logger = run_logger()
        self._gone: float | None = None
        self._told = False
        self._client: SyncPrefectClient
        self._thread = PeriodicThread(
            self._look, LOOK_EVERY, name="server watch", within=self._connected
        ).start()

    def close(self) -> None:
        """Look no more."""
        self._thread.end()

    @contextlib.contextmanager
    def _connected(self) -> Iterator[None]:
        with _impatient_client() as self._client:
            yield

    def _look(self) -> None:
        error = self._client.api_healthcheck()
        if error is None:
            if self._told and self._gone is not None:
                self._logger.info("Prefect's server is back after %.0f s.", time.monotonic() - self._gone)
            self._gone, self._told = None, False
            return
        self.missed += 1
        if self._gone is None:
            self._gone = time.monotonic()
        elif not self._told:
            self._told = True
            self._logger.warning(
                "Prefect's server does not answer (%s). The run goes on, and tells it later what was done.",
                error,
            )


def wait_for_server() -> None:
    """Wait until the server of a run that is done answers; a temporary one, which nobody starts again, is not awaited.

    Raises:
        ServerLost: It did not for `SERVER_TIMEOUT_S`.
    """
    deadline = time.monotonic() + SERVER_TIMEOUT_S
    told = False
    with _impatient_client() as client:
        if client.server_type == ServerType.EPHEMERAL:
            return
        while (error := client.api_healthcheck()) is not None:
            if time.monotonic() > deadline:
                raise ServerLost(
                    f"Prefect's server has not answered for {SERVER_TIMEOUT_S / 60:.0f} minutes: {error}.",
                    state="What the run had to do is done and stored; only Prefect does not know.",
                    remedy="Start the server; the next run of this flow tells it how this one ended.",
                ) from error
            if not told:
                told = True
                run_logger().warning(
                    "The run is done, and waits for Prefect's server to tell it so, %.0f minutes at most.",
                    SERVER_TIMEOUT_S / 60,
                )
            time.sleep(min(1.0, LOOK_EVERY))


@contextlib.contextmanager
def _impatient_client() -> Iterator[SyncPrefectClient]:
    """A client of the current API that says at once when it is not there."""
    with (
        temporary_settings({PREFECT_CLIENT_MAX_RETRIES: 0}),
        get_client(sync_client=True, httpx_settings={"timeout": httpx.Timeout(ANSWER_SECONDS)}) as client,
    ):
        yield client
