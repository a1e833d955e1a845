"""The errors of a missing Prefect server, each with its cause and remedy."""

import os
import re
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Final

import httpx
import prefect
from prefect.context import get_settings_context
from prefect.settings import PREFECT_API_DATABASE_CONNECTION_URL, PREFECT_HOME

from prefect_ollama.blocks.errors import ServerUnavailable
from prefect_ollama.blocks.nodes import proxy_hint

# A remedy: a database of one's own for Prefect's temporary server.
OWN_DATABASE: Final = "PREFECT_API_DATABASE_CONNECTION_URL=sqlite+aiosqlite:///{path}"

# Each error here comes before the flow starts.
NOTHING_DONE: Final = "Nothing was done."

# Lines of the server's output that an error shows.
LAST_LINES: Final = 3

# Messages of two servers that create or migrate the same database at the same time. A second start finds the database
# finished.
_PASSING: Final = (
    "already exists",
    "database is locked",
    "duplicate column name",
    "no such table: _alembic_tmp_",
    "UNIQUE constraint failed: alembic_version",
    "expected to match one row when updating",  # Alembic's words for a revision that another process has moved
)

# The last line of a Python traceback.
_ERROR: Final = re.compile(r"^(?:[A-Za-z_][\w.]*\.)?[A-Z]\w*(?:Error|Exception|Warning|Exit)\b.*")


def explain_unusable(url: str, error: Exception) -> ServerUnavailable:
    """Return the error for a configured server that does not answer, or that gives no answer that can be used."""
    if "PREFECT_API_URL" in os.environ:
        origin = "the environment variable PREFECT_API_URL names it"
        instead = "correct the variable, or unset it"
    else:
        profile = get_settings_context().profile.name
        origin = f"the profile {profile!r} names it"
        instead = "correct it with `prefect config set PREFECT_API_URL=…`, or `prefect config unset PREFECT_API_URL`"
    status = error.response.status_code if isinstance(error, httpx.HTTPStatusError) else 0
    why = f"it answers {status}" if status else str(error).rstrip(".") or type(error).__name__
    where = httpx.URL(url).copy_with(userinfo=b"")
    if isinstance(error, httpx.LocalProtocolError):
        # Its words show the header, which has the key.
        cause = f"No request can be sent to Prefect's server at {where} ({origin}): {type(error).__name__}."
        first = "Check that PREFECT_API_KEY and PREFECT_API_AUTH_STRING are single lines of ASCII"
    elif isinstance(error, httpx.TransportError):
        cause = f"Prefect's server at {where} does not answer ({origin}): {why}."
        first = "Start the server"
    elif status in (401, 403):
        cause = f"Prefect's server at {where} refuses this program ({origin}): {why}."
        first = "Set PREFECT_API_AUTH_STRING to the server's login, or PREFECT_API_KEY for Prefect Cloud"
    else:
        cause = f"Prefect's server at {where} cannot be used ({origin}): {why}."
        first = (
            f"Check that Prefect {prefect.__version__} or newer is there, and that the address ends in /api"
        )
    remedy = f"{first}; or {instead} to work with a temporary one." + proxy_hint()
    return ServerUnavailable(cause, state=NOTHING_DONE, remedy=remedy)


def explain(said: str, *, seconds: float | None = None) -> ServerUnavailable:
    """Return the error for a temporary server that did not start.

    Args:
        said: The end of its output.
        seconds: How long the start was waited for; None if the process ended by itself.
    """
    own = " ".join(last_words(said))
    if seconds is not None:
        cause = f"it did not answer within {seconds:.0f} seconds." + (f" It wrote: {own}" if own else "")
        slow = "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS"
        remedy = f"Look at the load of this machine, or set {slow} to more; or start a server by hand."
        return _unavailable(cause, remedy)
    cause, remedy = _reason(said)
    return _unavailable(f"{cause} It wrote: {own}" if own else cause, remedy)


def _reason(said: str) -> tuple[str, str]:
    where = database()
    file = database_file()
    other = OWN_DATABASE.format(path=PREFECT_HOME.value() / f"prefect-{prefect.__version__}.db")
    if found := re.search(r"Can't locate revision identified by '(\w+)'", said):
        return (
            f"another version of Prefect has used the database {where}: its revision {found[1]} is unknown to "
            f"Prefect {prefect.__version__}.",
            f"Upgrade Prefect (`pip install -U prefect`); or set {other} to give this one a database of its own, "
            "without the blocks and runs of the other one.",
        )
    if "database is locked" in said:
        return (
            f"another process holds the lock of the database {where}.",
            f"End that process or wait for it, then run again; or set {other}.",
        )
    if re.search(r"disk is full|No space left on device|Disk quota exceeded|disk I/O error", said):
        return f"there is no room for the database {where}.", "Free some room on that disk, then run again."
    if re.search(
        r"unable to open database file|readonly database|Permission denied|Read-only file system", said
    ):
        return (
            f"the database {where} cannot be written.",
            "Give this user the right to write it and its folder; or set PREFECT_HOME to a folder that can be written.",
        )
    if re.search(r"file is not a database|database disk image is malformed", said):
        return (
            f"the database {where} is damaged.",
            f"Move {file or 'it'} away, and restore a copy if there is one. Otherwise a new one is made.",
        )
    if file is None:
        return (
            f"it cannot use the database {where}.",
            "Check PREFECT_API_DATABASE_CONNECTION_URL, and that the database's server runs.",
        )
    return "it ended as it started.", "Run `prefect server start` to see all that it says."


def _unavailable(cause: str, remedy: str) -> ServerUnavailable:
    return ServerUnavailable(
        f"Prefect's temporary server cannot start: {cause}", state=NOTHING_DONE, remedy=remedy
    )


def is_busy(error: Exception) -> bool:
    """Return whether a configured server or its proxy is busy: Prefect repeats requests that have such an answer."""
    return isinstance(error, httpx.HTTPStatusError) and error.response.status_code in (408, 429, 502, 503)


def is_passing(error: str) -> bool:
    """Return whether a start that failed with this output may succeed a moment later."""
    return any(words in error for words in _PASSING)


def last_words(said: str) -> list[str]:
    """Return the last lines of a process that name an error, else its last lines."""
    lines = [line.strip().removeprefix("ERROR:").strip() for line in said.splitlines() if line.strip()]
    errors = [line for line in lines if _ERROR.match(line)]
    return (errors[-1:] or lines[-LAST_LINES:]) if lines else []


def database() -> str:
    """Return the database of a temporary server, for people: its file, or its URL without the password."""
    if (file := database_file()) is not None:
        return str(file)
    from sqlalchemy.engine import make_url

    return make_url(str(PREFECT_API_DATABASE_CONNECTION_URL.value())).render_as_string(hide_password=True)


def database_file() -> Path | None:
    """Return the file of a SQLite database, None for another one and for one in memory."""
    scheme, _, path = str(PREFECT_API_DATABASE_CONNECTION_URL.value()).partition(":///")
    is_file = scheme.startswith("sqlite") and path and ":memory:" not in path
    return Path(path.partition("?")[0]) if is_file else None


def locked(seconds: float) -> bool:
    """Return whether another process holds the lock of the SQLite database for so many seconds."""
    file = database_file()
    if file is None or not file.exists():
        return False
    address = f"{file.absolute().as_uri()}?mode=rw"
    try:
        with closing(sqlite3.connect(address, uri=True, timeout=seconds)) as opened:
            opened.execute("BEGIN IMMEDIATE")
            opened.rollback()
    except sqlite3.DatabaseError as error:
        return "locked" in str(error)
    return False
