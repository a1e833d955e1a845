"""Make sure that a flow has a Prefect server before it starts, or raise an error with the reason within seconds.

Prefect starts a temporary server if no API is configured. If that server cannot start, Prefect waits for a time-out,
and the reason only goes to the terminal. So this module starts the server first, and passes it to Prefect.
"""

from __future__ import annotations

import atexit
import os
import secrets
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext, suppress
from typing import IO, TYPE_CHECKING, Final

import httpx
import prefect.context
from filelock import Timeout
from prefect.context import FlowRunContext, SettingsContext, get_settings_context
from prefect.settings import (
    PREFECT_API_AUTH_STRING,
    PREFECT_API_URL,
    PREFECT_SERVER_API_AUTH_STRING,
    PREFECT_SERVER_EPHEMERAL_ENABLED,
    get_current_settings,
)
from pydantic import SecretStr

from prefect_ollama.blocks.errors import ServerUnavailable
from prefect_ollama.blocks.private_files import private_lock
from prefect_ollama.flows.base._server_errors import (
    NOTHING_DONE,
    database_file,
    explain,
    explain_unusable,
    is_busy,
    is_passing,
    locked,
)
from prefect_ollama.tasks.prefect_state import changed_settings, quick_client

if TYPE_CHECKING:
    from prefect.client.orchestration import SyncPrefectClient
    from prefect.server.api.server import SubprocessASGIServer

# Seconds for a server to start. The first start creates the database, which takes a minute on a slow machine.
START_TIMEOUT_S: Final = 120

# Seconds for which another process may hold the lock of the database before the server starts.
LOCK_TIMEOUT_S: Final = 10.0

# How often a start is tried, if its error may be temporary.
MAX_STARTS: Final = 3

# Seconds for a configured server to answer.
ANSWER_TIMEOUT_S: Final = 5.0

# Seconds until it is asked again.
ANSWER_INTERVAL_S: Final = 0.5

# The module that serves it.
SERVER_MODULE: Final = "prefect_ollama.tasks.prefect_state.server_process"

# The login of the temporary server that this process started: other users of the machine can reach its port, and its
# database has the blocks with their secrets.
_login = ""

_lock = threading.Lock()


def uses_temporary() -> bool:
    """Return whether a flow that is called here needs a temporary server."""
    return FlowRunContext.get() is None and not PREFECT_API_URL.value()


def ensure_server() -> None:
    """Check that Prefect's server answers, or start a temporary one if none is configured.

    Within a flow run this does nothing: the server answered at its start, and Prefect handles later outages.

    Raises:
        ServerUnavailable: The configured server does not answer or cannot be used, or a temporary one cannot start.
    """
    if FlowRunContext.get() is not None:
        return
    if PREFECT_API_URL.value():
        _check_named()
    elif PREFECT_SERVER_EPHEMERAL_ENABLED.value():
        with _lock:
            _start_temporary()
    else:
        raise ServerUnavailable(
            "No Prefect server is named, and temporary ones are turned off.",
            state=NOTHING_DONE,
            remedy="Set PREFECT_API_URL to the address of a server, or PREFECT_SERVER_EPHEMERAL_ENABLED to true.",
        )


def temporary_server_login() -> AbstractContextManager[object]:
    """Give the login of the temporary server to the clients of a flow, also within other temporary settings."""
    if not _login or PREFECT_API_URL.value() or PREFECT_API_AUTH_STRING.value() == _login:
        return nullcontext()
    return _with_login(get_settings_context())


def _with_login(context: SettingsContext) -> SettingsContext:
    return changed_settings(context, "api", auth_string=SecretStr(_login))


def _check_named() -> None:
    with quick_client(ANSWER_TIMEOUT_S) as client:
        for left in reversed(range(MAX_STARTS)):
            error = _failure(client)
            if error is None or is_busy(error):
                return
            if not left or not isinstance(error, httpx.TransportError):
                raise explain_unusable(PREFECT_API_URL.value() or "", error)
            time.sleep(ANSWER_INTERVAL_S)


def _failure(client: SyncPrefectClient) -> Exception | None:
    """Return why a server cannot be used. It answers the question for its health without a login."""
    error = client.api_healthcheck()
    if error is None and get_current_settings().client.server_version_check_enabled:
        try:
            # Once for a process, as Prefect does: each check of an older server warns.
            client.raise_for_api_version_mismatch_once()
        except Exception as failed:
            return failed.__cause__ if isinstance(failed.__cause__, Exception) else failed
    return error


def _start_temporary() -> None:
    # Prefect's server takes half of the time in which the flows are imported, and runs with a named server need none.
    from prefect.server.api.server import SubprocessASGIServer

    server = SubprocessASGIServer()
    if server.running and server.server_process is not None and server.server_process.poll() is None:
        return
    with _exclusive_start():
        # Before the start, because a server that makes its tables holds the lock itself.
        if locked(LOCK_TIMEOUT_S):
            raise explain("database is locked")
        for left in reversed(range(MAX_STARTS)):
            with tempfile.TemporaryFile() as log:
                try:
                    _start(server, log)
                    return
                except ServerUnavailable as error:
                    if not left or not is_passing(str(error)):
                        raise


@contextmanager
def _exclusive_start() -> Iterator[None]:
    """Let no other process start a temporary server on the same SQLite file meanwhile.

    A server that starts creates or migrates its database. Alembic, which does that for Prefect, fails if two servers do
    it at once. Servers that a user starts take no lock, so a start that fails because of such a server is tried again
    as well.
    """
    with ExitStack() as held:
        if (file := database_file()) is not None:
            # The start raises the error about the folder or the database.
            with suppress(OSError, Timeout):
                lock = private_lock(file.with_name(f".{file.name}.start.lock"))
                held.enter_context(lock.acquire(timeout=START_TIMEOUT_S))
        yield


def _start(server: SubprocessASGIServer, log: IO[bytes]) -> None:
    """Start the process of a server, and pass it to Prefect once it answers."""
    login = (
        PREFECT_SERVER_API_AUTH_STRING.value()
        or PREFECT_API_AUTH_STRING.value()
        or f"run:{secrets.token_urlsafe(32)}"
    )
    with socket.create_server(("127.0.0.1", 0), backlog=512) as listener:
        port: int = listener.getsockname()[1]
        process = subprocess.Popen(
            # -P: no file in the user's working folder may be imported in place of a module.
            [sys.executable, "-P", "-m", SERVER_MODULE, str(listener.fileno())],
            env=_environment(login),
            stdin=subprocess.PIPE,
            stdout=log,
            stderr=log,
            pass_fds=(listener.fileno(),),
            # A session of its own: Ctrl-C then reaches only the flow, which reports its end to the server.
            start_new_session=True,
        )
    try:
        _wait_until_it_answers(process, port, log)
    except BaseException:
        # A server that no process stops would keep the database locked.
        process.kill()
        process.wait()
        raise
    # Prefect asks this object for its temporary server, and finds it started.
    server.port, server.server_process, server.running = port, process, True
    atexit.register(server.stop)
    _send_with_all_requests(login)


def _send_with_all_requests(login: str) -> None:
    """Let all threads of this process send the login. Processes that the user starts do not inherit it."""
    global _login
    _login = login
    # Threads that Prefect starts for logs and events have no context of their own.
    prefect.context.GLOBAL_SETTINGS_CONTEXT = _with_login(prefect.context.GLOBAL_SETTINGS_CONTEXT)


def _environment(login: str) -> dict[str, str]:
    return {
        **os.environ,
        "PREFECT_UI_ENABLED": "0",
        "PREFECT__SERVER_EPHEMERAL": "1",
        "PREFECT__SERVER_FINAL": "1",
        **get_current_settings().to_environment_variables(exclude_unset=True),
        # The command line turns off Prefect's log for its own process. In the server it shows why a start failed.
        "PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL": "ERROR",
        PREFECT_SERVER_API_AUTH_STRING.name: login,
    }


def _wait_until_it_answers(process: subprocess.Popen[bytes], port: int, log: IO[bytes]) -> None:
    settings = get_current_settings().server.ephemeral
    chosen = "startup_timeout_seconds" in settings.model_fields_set
    limit = settings.startup_timeout_seconds if chosen else START_TIMEOUT_S
    began = time.monotonic()
    # The socket already listens, so a request waits for the server, and fails at once when its process ends.
    with httpx.Client(trust_env=False, timeout=1.0) as client:
        while True:
            if process.poll() is not None:
                raise explain(_last_output(log))
            with suppress(httpx.TransportError):
                if client.get(f"http://127.0.0.1:{port}/api/health").status_code == 200:
                    return
            if time.monotonic() - began > limit:
                raise explain(_last_output(log), seconds=limit)
            time.sleep(0.05)


def _last_output(log: IO[bytes]) -> str:
    """Return the last output of a process. The file's position, which the process shares, does not change."""
    size = os.fstat(log.fileno()).st_size
    return os.pread(log.fileno(), 16384, max(0, size - 16384)).decode(errors="replace")
