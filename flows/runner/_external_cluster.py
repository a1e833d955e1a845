"""Dask workers that somebody else started: how a run finds them, and what it may ask of them.

Guarantees: a scheduler that does not answer is named, with what to do; nothing is started on it before; the run's log
warns of a scheduler that answers anyone.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator

import dask.config
import distributed
from prefect.context import FlowRunContext

from prefect_ollama.blocks.errors import ConfigurationError
from prefect_ollama.tasks.prefect_state import run_logger


def named_scheduler() -> str | None:
    """The address in Dask's own setting `scheduler-address`, which the variable `DASK_SCHEDULER_ADDRESS` sets."""
    address = dask.config.get("scheduler-address", None)
    return str(address) if address else None


@contextlib.contextmanager
def reached(address: str | None) -> Iterator[None]:
    """Say what it means that nobody answers at the address of a scheduler.

    Raises:
        ConfigurationError: Nobody does.
    """
    try:
        yield
    except (OSError, ValueError) as error:
        if address is None:
            raise
        raise ConfigurationError(
            f"No Dask scheduler answers at {address!r}: {error}.",
            state="Nothing was started.",
            remedy="Start it, or correct DASK_SCHEDULER_ADDRESS; without an address the run starts its own workers.",
        ) from error


# How the addresses begin of schedulers that let only those in whom they can verify, or that have no port at all.
SECURE = ("tls://", "wss://", "inproc://")


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


def offered(client: distributed.Client) -> tuple[frozenset[str], int]:
    """What the workers of a scheduler offer.

    Returns:
        Names of their Dask resources, and how many parse tasks they run at a time; 1 where there are no workers
        yet.
    """
    workers = list(client.scheduler_info(n_workers=-1)["workers"].values())
    if not workers and FlowRunContext.get():
        run_logger().warning("The Dask scheduler has no workers: tasks wait until one comes.")
    roles = frozenset(name for worker in workers for name in worker["resources"])
    parsing = sum(worker["resources"].get("parse", 0) for worker in workers)
    return roles, int(parsing or sum(worker["nthreads"] for worker in workers) or 1)
