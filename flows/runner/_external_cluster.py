"""A Dask cluster that the run did not start: its address, its roles, and the errors of a connection to it.

Guarantees: an error names a scheduler that does not answer, and the remedy, before anything is started on it. The run's
log warns if anybody may connect to the scheduler.
"""

import logging
import ssl
import traceback
from collections.abc import Iterator
from contextlib import contextmanager

import dask.config
import distributed
from prefect.context import FlowRunContext

from prefect_ollama.blocks.errors import ConfigurationError
from prefect_ollama.tasks.prefect_state import run_logger

# Address schemes of schedulers that authenticate their clients, or that have no port at all.
SECURE = ("tls://", "wss://", "inproc://")


def named_scheduler() -> str | None:
    """Return Dask's own setting `scheduler-address`, which the variable `DASK_SCHEDULER_ADDRESS` sets."""
    address = dask.config.get("scheduler-address", None)
    return str(address) if address else None


@contextmanager
def connecting_to(address: str | None) -> Iterator[None]:
    """Explain the error of a scheduler that does not answer at its address.

    Raises:
        ConfigurationError: It does not answer, or Dask's settings for TLS do not fit the address.
    """
    try:
        yield
    except (OSError, ValueError, TypeError, RuntimeError) as error:
        _close_client_of(error)
        if address is None:
            raise
        # Dask raises a TypeError without files for TLS, and a RuntimeError for an address that its settings forbid.
        if isinstance(error, (TypeError, RuntimeError, FileNotFoundError, PermissionError, ssl.SSLError)):
            raise ConfigurationError(
                f"Dask's settings for TLS here do not fit the scheduler at {address!r}: {error}.",
                state="Nothing was started.",
                remedy="Set them as docs/security.md says under 'Secure your own Dask cluster', or correct "
                "DASK_SCHEDULER_ADDRESS.",
            ) from error
        raise ConfigurationError(
            f"No Dask scheduler answers at {address!r}: {error}.",
            state="Nothing was started.",
            remedy="Start it, or correct DASK_SCHEDULER_ADDRESS; without an address the run starts its own workers.",
        ) from error


def _close_client_of(error: BaseException) -> None:
    """Close the client whose start raised the error.

    Otherwise it closes itself when Python collects it, and needs a lock for that which the start of a client holds
    (`distributed.utils.LoopRunner`). Collected during the next start, it would block that start for ever.
    """
    for frame, _ in traceback.walk_tb(error.__traceback__):
        client = frame.f_locals.get("self")
        # One that failed before it connected has no event loop, and nothing to close.
        if isinstance(client, distributed.Client) and getattr(client, "status", None) == "connecting":
            client.close()  # type: ignore[no-untyped-call]


def warn_if_open(client: distributed.Client) -> None:
    """Warn of a scheduler whose connections are neither encrypted nor authenticated."""
    assert client.scheduler is not None
    address = str(client.scheduler.address)
    if not address.startswith(SECURE):
        logger = run_logger() if FlowRunContext.get() else logging.getLogger(__name__)
        logger.warning(
            "Dask's scheduler at %s uses no TLS: everyone who can reach its port can run code on its workers and read "
            "the tokens, passwords and documents of this run. docs/security.md says how to secure it.",
            address,
        )


def offered_roles(client: distributed.Client) -> tuple[frozenset[str], int]:
    """Return the roles of a scheduler's workers, and how many parse tasks they run at a time.

    Roles are names of Dask resources. The number of a role is 1 if there are no workers yet.
    """
    # -1, because some versions of Dask describe only five workers by default.
    workers = list(client.scheduler_info(n_workers=-1)["workers"].values())
    if not workers and FlowRunContext.get():
        run_logger().warning("The Dask scheduler has no workers: tasks wait until one comes.")
    roles = frozenset(name for worker in workers for name in worker["resources"])
    parsing = sum(worker["resources"].get("parse", 0) for worker in workers)
    return roles, int(parsing or sum(worker["nthreads"] for worker in workers) or 1)
