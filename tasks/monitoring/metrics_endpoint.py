"""Expose the metrics of this process to Prometheus: serve them, or push them to a gateway.

Guarantees: no port is opened and nothing is sent unless the setting `metrics` says where. A port that is in use, or a
gateway that does not answer, fails no run. A failure is logged once, without the user and password in the URL.
"""

import contextlib
import functools
import os
import threading
from collections.abc import Callable, Iterator
from typing import Final
from urllib.parse import unquote, urlsplit, urlunsplit

from prometheus_client import REGISTRY, push_to_gateway, start_http_server
from prometheus_client.exposition import basic_auth_handler, default_handler

from prefect_ollama.blocks.periodic import PeriodicThread
from prefect_ollama.blocks.printable import printable
from prefect_ollama.blocks.secrets import remember_to_hide, without_secrets
from prefect_ollama.blocks.settings import PREFIX, current_settings
from prefect_ollama.tasks.prefect_state import RunLogger, run_logger

# A function that sends metrics to a gateway, as `prometheus_client` takes it.
Handler = Callable[[str, str, float | None, list[tuple[str, str]], bytes], Callable[[], None]]

# `9464` or `0.0.0.0:9464` serves on that port, by itself on loopback; `http://host:9091` pushes to a Pushgateway,
# as a user if the URL has one (`https://user:password@host`).
VARIABLE: Final = f"{PREFIX}METRICS"

# The job label of pushed metrics.
JOB: Final = "prefect-ollama"

# Seconds between two pushes.
PUSH_INTERVAL_S: Final = 15.0

# Seconds that a gateway may take for an answer.
GATEWAY_TIMEOUT_S: Final = 5.0

# Metrics name nodes and folders, so other hosts see them only if the user names an address.
_LOOPBACK: Final = "127.0.0.1"

_served: set[tuple[str, int]] = set()
_lock = threading.Lock()


@contextlib.contextmanager
def serve_metrics(source: str) -> Iterator[None]:
    """Expose the metrics of this process until the end of the context, and once more at its end.

    A port stays open until the process ends, for the next run in it.

    Args:
        source: Name of the run's source, which separates the pushes of runs over several sources.
    """
    where, logger = current_settings().metrics.strip(), run_logger()
    if "://" in where:
        try:
            gateway, handler = _without_login(where)
        except ValueError:  # its text would show the URL
            logger.warning("No metrics are pushed: %s holds no URL that can be used.", VARIABLE)
            yield
            return
        with _pushed(gateway, handler, source, logger):
            yield
        return
    if where:
        try:
            _serve(where)
        except (OSError, ValueError, OverflowError) as error:
            shown = where.rpartition("@")[2]
            logger.warning("No metrics are served, %s=%r cannot be used: %s", VARIABLE, shown, error)
    yield


def _serve(where: str) -> None:
    host, _, port = where.rpartition(":")
    address = (host.strip("[]") or _LOOPBACK, int(port))
    with _lock:
        if address not in _served:
            start_http_server(address[1], addr=address[0])
            _served.add(address)


@contextlib.contextmanager
def _pushed(gateway: str, handler: Handler, source: str, logger: RunLogger) -> Iterator[None]:
    key = {"instance": os.uname().nodename, "source": printable(source)}

    warned = False

    def push(*, last: bool = False) -> None:
        nonlocal warned
        try:
            push_to_gateway(gateway, JOB, REGISTRY, key, timeout=GATEWAY_TIMEOUT_S, handler=handler)
        except Exception as error:  # the run continues after every error of the network
            if last:
                logger.warning("The last metrics did not reach %s: %s", gateway, without_secrets(str(error)))
            elif not warned:
                logger.warning(
                    "Metrics do not reach %s: %s. The run continues.", gateway, without_secrets(str(error))
                )
                warned = True

    thread = PeriodicThread(push, PUSH_INTERVAL_S, name="metrics").start()
    try:
        yield
    finally:
        thread.end(2 * GATEWAY_TIMEOUT_S)
        push(last=True)


def _without_login(gateway: str) -> tuple[str, Handler]:
    """Split the URL of a gateway into one that may be shown, and a function that sends its user and password."""
    parts = urlsplit(gateway)
    login, _, host = parts.netloc.rpartition("@")
    if not login:
        return gateway, default_handler
    user, _, password = (unquote(each) for each in login.partition(":"))
    remember_to_hide(password)
    send = functools.partial(basic_auth_handler, username=user, password=password)
    return urlunsplit(parts._replace(netloc=host)), send
