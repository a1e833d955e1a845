"""Prefect's server as a run sees it: it must be there when the run begins and when it ends.

Guarantees: an outage in between stops nothing, and is told in the run's log; a run that is done does not end before
the server can be told so, but for `PATIENCE` it waits for it; then the error says what is kept.
"""

from __future__ import annotations

import contextlib
import contextvars
import threading
import time
from collections.abc import Iterator
from typing import Final

import httpx
from prefect.client.base import ServerType
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.settings import PREFECT_CLIENT_MAX_RETRIES, temporary_settings

from prefect_ollama.blocks.errors import ServerLost
from prefect_ollama.tasks.prefect_state import run_logger

SERVER_TIMEOUT_S: Final = 600.0
"""Seconds that a run which is done waits for a server that does not answer."""

LOOK_EVERY: Final = 3.0
"""Seconds between two looks at the server; to start anew takes one longer than that."""

ANSWER_SECONDS: Final = 5.0


class ServerWatch:
    """Looks at the server until it is closed, and tells the log of the current flow run when it is gone and back.

    Attributes:
        missed: How often the server did not answer. Whatever it was told shortly before may be lost then.
    """

    def __init__(self) -> None:
        self.missed = 0
        self._logger = run_logger()
        self._closed = threading.Event()
        context = contextvars.copy_context()
        self._thread = threading.Thread(
            target=context.run, args=(self._look,), name="server watch", daemon=True
        )
        self._thread.start()

    def close(self) -> None:
        """Look no more."""
        self._closed.set()

    def _look(self) -> None:
        gone: float | None = None
        told = False
        with _impatient_client() as client:
            while not self._closed.wait(LOOK_EVERY):
                error = client.api_healthcheck()
                if error is None:
                    if told and gone is not None:
                        self._logger.info("Prefect's server is back after %.0f s.", time.monotonic() - gone)
                    gone, told = None, False
                elif gone is None:
                    gone = time.monotonic()
                elif not told:
                    told = True
                    self._logger.warning(
                        "Prefect's server does not answer (%s). The run goes on, and tells it later what was done.",
                        error,
                    )
                self.missed += error is not None


def wait_for_server() -> None:
    """Wait until the server of a run that is done answers; a temporary one, which nobody starts again, is not awaited.

    Raises:
        ServerLost: It did not for `PATIENCE`.
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
