"""Watch Prefect's server during a run. The run needs it only at its beginning and at its end.

Guarantees: an outage in between does not stop the run, and is logged. A run that has finished its work waits up to
`SERVER_TIMEOUT_S` for the server, to report its end; after that the error says what is stored.
"""

import time
from contextlib import ExitStack
from typing import Final

from prefect.client.base import ServerType
from prefect.client.orchestration import SyncPrefectClient

from prefect_ollama.blocks.errors import ServerLost
from prefect_ollama.blocks.periodic import PeriodicThread
from prefect_ollama.tasks.prefect_state import quick_client, run_logger

# Seconds that a finished run waits for a server that does not answer.
SERVER_TIMEOUT_S: Final = 600.0

# Seconds between two checks of the server. A restart of the server takes longer, so the watch notices every restart.
CHECK_INTERVAL_S: Final = 3.0

# Seconds that the server has to answer. A healthy one takes milliseconds.
ANSWER_TIMEOUT_S: Final = 5.0


class ServerWatch:
    """Checks the server until it is closed, and logs in the current flow run when the server is down and up again.

    Attributes:
        missed: How often the server did not answer. The server may have lost the states that it received shortly
            before.
    """

    def __init__(self) -> None:
        self.missed = 0
        self._logger = run_logger()
        self._gone: float | None = None
        self._warned = False
        self._health = _HealthCheck()
        self._thread = PeriodicThread(
            self._check_server, CHECK_INTERVAL_S, name="server watch", within=lambda: self._health
        ).start()

    def close(self) -> None:
        """Stop checking."""
        self._thread.end()

    def _check_server(self) -> None:
        error = self._health.error()
        if error is None:
            if self._warned and self._gone is not None:
                self._logger.info("Prefect's server is back after %.0f s.", time.monotonic() - self._gone)
            self._gone, self._warned = None, False
            return
        self.missed += 1
        if self._gone is None:
            self._gone = time.monotonic()
        elif not self._warned:
            self._warned = True
            self._logger.warning(
                "Prefect's server does not answer (%s). The run continues, and reports its results later.",
                error,
            )


def wait_for_server() -> None:
    """Wait until the server of a finished run answers, except a temporary server, which is never started again.

    Raises:
        ServerLost: It did not answer for `SERVER_TIMEOUT_S`.
    """
    deadline = time.monotonic() + SERVER_TIMEOUT_S
    warned = False
    with _HealthCheck() as health:
        while (error := health.error()) is not None and not health.temporary:
            if time.monotonic() > deadline:
                raise ServerLost(
                    f"Prefect's server has not answered for {SERVER_TIMEOUT_S / 60:.0f} minutes: {error}.",
                    state="The run has done and stored all its work; only Prefect does not know it.",
                    remedy="Start the server; the next run of this flow reports how this one ended.",
                ) from error
            if not warned:
                warned = True
                run_logger().warning(
                    "The run is done, and waits up to %.0f minutes for Prefect's server, to report its end.",
                    SERVER_TIMEOUT_S / 60,
                )
            time.sleep(min(1.0, CHECK_INTERVAL_S))


class _HealthCheck(ExitStack):
    """Asks the current API for its health, and reports at once when the server does not answer."""

    _client: SyncPrefectClient | None = None

    @property
    def temporary(self) -> bool:
        """Whether the server is a temporary one."""
        return self._client is not None and self._client.server_type == ServerType.EPHEMERAL

    def error(self) -> Exception | None:
        """Return the error of the server; None if it is healthy."""
        try:
            if self._client is None:
                self._client = self.enter_context(quick_client(ANSWER_TIMEOUT_S))
            return self._client.api_healthcheck()
        # Settings that became wrong, such as a lost file of certificates, are an outage too: they can be corrected.
        except Exception as error:
            return error
