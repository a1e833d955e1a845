"""The server that a flow runs against: a temporary one that cannot start says why, and what to do that helps."""

from __future__ import annotations

import asyncio
import os
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest
from filelock import Timeout
from prefect.settings import (
    PREFECT_API_DATABASE_CONNECTION_URL,
    PREFECT_API_KEY,
    PREFECT_API_URL,
    PREFECT_CLIENT_SERVER_VERSION_CHECK_ENABLED,
    PREFECT_SERVER_EPHEMERAL_ENABLED,
    temporary_settings,
)

from prefect_ollama.blocks.errors import ServerUnavailable
from prefect_ollama.blocks.private_files import private_lock
from prefect_ollama.flows.base import _temporary_server
from prefect_ollama.flows.base._server_errors import database_file, explain, is_passing, last_words, locked
from prefect_ollama.flows.base._temporary_server import ensure_server
from tests.raw_node import RawNode, answer

STARTS = """
import sys
from prefect_ollama.blocks.errors import ServerUnavailable
from prefect_ollama.flows.base._temporary_server import ensure_server
try:
    ensure_server()
except ServerUnavailable as error:
    print(error)
    sys.exit(7)
from prefect.client.orchestration import get_client
with get_client(sync_client=True) as client:
    print(client.api_version(), client.server_type)
"""


@pytest.fixture
def home(tmp_path: Path) -> Path:
    folder = tmp_path / "home"
    folder.mkdir()
    return folder


@contextmanager
def database(home: Path) -> Iterator[sqlite3.Connection]:
    with closing(sqlite3.connect(home / "prefect.db")) as opened:
        yield opened


def start(home: Path, **env: str) -> subprocess.CompletedProcess[str]:
    clean = {name: each for name, each in os.environ.items() if name != "PREFECT_API_URL"}
    return subprocess.run(
        [sys.executable, "-c", STARTS],
        env=clean | {"PREFECT_HOME": str(home), "PREFECT_SERVER_EPHEMERAL_ENABLED": "true", **env},
        capture_output=True,
        text=True,
        timeout=580,
    )


def newer(home: Path) -> None:
    with database(home) as opened:
        opened.execute("CREATE TABLE alembic_version (version_num VARCHAR(32) NOT NULL)")
        opened.execute("INSERT INTO alembic_version VALUES ('ffffabcd1234')")
        opened.commit()


def damaged(home: Path) -> None:
    (home / "prefect.db").write_bytes(b"this is no database, and never was one. " * 200)


def a_folder(home: Path) -> None:
    (home / "prefect.db").mkdir()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("prepare", "cause", "remedy"),
    [
        (newer, "its revision ffffabcd1234 is unknown to Prefect", "Upgrade Prefect"),
        (damaged, "is damaged", "Move "),
        (a_folder, "cannot be written", "PREFECT_HOME"),
    ],
)
def test_a_server_that_cannot_start_says_why(
    home: Path, prepare: Callable[[Path], None], cause: str, remedy: str
) -> None:
    prepare(home)
    done = start(home)
    assert done.returncode == 7, done.stdout + done.stderr
    assert cause in done.stdout
    assert remedy in done.stdout
    assert "It wrote:" in done.stdout, "its own error is shown"
    assert str(home / "prefect.db") in done.stdout
    assert "Traceback" not in done.stdout + done.stderr


@pytest.mark.slow
def test_a_locked_database_is_named(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with database(home) as opened:
        opened.execute("CREATE TABLE held (number INTEGER)")
        opened.execute("BEGIN EXCLUSIVE")
        done = start(home)
    assert done.returncode == 7, done.stdout + done.stderr
    assert "another process holds the lock" in done.stdout


@pytest.mark.slow
def test_two_that_make_the_same_database_at_once_both_start(home: Path) -> None:
    clean = {name: each for name, each in os.environ.items() if name != "PREFECT_API_URL"}
    env = clean | {"PREFECT_HOME": str(home), "PREFECT_SERVER_EPHEMERAL_ENABLED": "true"}
    both = [
        subprocess.Popen([sys.executable, "-c", STARTS], env=env, stdout=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    said = [process.communicate(timeout=580)[0] for process in both]
    assert [process.returncode for process in both] == [0, 0], said
    assert all("EPHEMERAL" in each for each in said)


@pytest.mark.parametrize(
    ("said", "cause", "remedy"),
    [
        ("x\nalembic.util.exc.CommandError: Can't locate revision identified by 'ab12'", "ab12", "Upgrade"),
        ("sqlite3.OperationalError: database or disk is full", "no room", "Free"),
        ("OSError: [Errno 28] No space left on device", "no room", "Free"),
        (
            "sqlalchemy.exc.OperationalError: (…) attempt to write a readonly database",
            "cannot be written",
            "right",
        ),
        ("PermissionError: [Errno 13] Permission denied: '/x'", "cannot be written", "PREFECT_HOME"),
        ("sqlite3.OperationalError: database is locked", "holds the lock", "End that process"),
        ("RuntimeError: something else", "ended as it started", "prefect server start"),
        ("", "ended as it started", "prefect server start"),
    ],
)
def test_each_cause_has_its_remedy(said: str, cause: str, remedy: str) -> None:
    error = explain(said)
    assert cause in error.cause
    assert remedy in error.remedy
    assert all(line in error.cause for line in last_words(said))
    assert error.state == "Nothing was done."


def test_the_password_of_a_database_is_not_shown() -> None:
    url = "postgresql+asyncpg://prefect:secret@db.example.org/prefect"
    with temporary_settings({PREFECT_API_DATABASE_CONNECTION_URL: url}):
        error = explain("ConnectionRefusedError: [Errno 111] Connect call failed")
    assert "secret" not in str(error)
    assert "db.example.org" in error.cause
    assert "PREFECT_API_DATABASE_CONNECTION_URL" in error.remedy


SLOW_SERVER = """
import http.server, sqlite3, sys
database, journal = sys.argv[1:]
opened = sqlite3.connect(database)
opened.execute(f"PRAGMA journal_mode={journal}")
opened.execute("CREATE TABLE made (number INTEGER)")
opened.execute("BEGIN EXCLUSIVE")
class Handler(http.server.BaseHTTPRequestHandler):
    asked = 0
    def do_GET(self):
        Handler.asked += 1
        self.send_response(503 if Handler.asked < 20 else 200)
        self.end_headers()
with http.server.HTTPServer(("127.0.0.1", 0), Handler) as server:
    print(server.server_address[1], flush=True)
    server.serve_forever()
"""


@pytest.mark.parametrize("journal", ["wal", "delete"])
def test_a_server_that_holds_the_lock_itself_is_waited_for(tmp_path: Path, journal: str) -> None:
    file = tmp_path / "prefect.db"
    command = [sys.executable, "-c", SLOW_SERVER, file, journal]
    url = f"sqlite+aiosqlite:///{file}"
    with (
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as server,
        temporary_settings({PREFECT_API_DATABASE_CONNECTION_URL: url}),
        (tmp_path / "log").open("w+b") as log,
    ):
        try:
            assert server.stdout is not None
            port = int(server.stdout.readline())
            assert locked(0.0)
            _temporary_server._wait_until_it_answers(server, port, log)
        finally:
            server.kill()


def test_a_lock_is_seen_and_a_free_or_missing_database_is_not(tmp_path: Path) -> None:
    file = tmp_path / "prefect.db"
    with temporary_settings({PREFECT_API_DATABASE_CONNECTION_URL: f"sqlite+aiosqlite:///{file}"}):
        assert not locked(0.0)
        with closing(sqlite3.connect(file)) as opened:
            opened.execute("CREATE TABLE held (number INTEGER)")
            assert not locked(0.0)
            opened.execute("BEGIN IMMEDIATE")
            assert locked(0.0)
        assert not locked(0.0)


@pytest.mark.parametrize(
    "said",
    [
        "table flow already exists",
        "alembic.util.exc.CommandError: Online migration expected to match one row when updating '628a873f0d1a' to "
        "'6b63c51c31b4' in 'alembic_version'; 0 found",
        "sqlite3.OperationalError: duplicate column name: heartbeat",
    ],
)
def test_what_may_pass_is_tried_again(said: str) -> None:
    assert is_passing(str(explain(said)))


def test_a_lasting_error_is_not_tried_again() -> None:
    assert not is_passing("Can't locate revision")


def test_servers_on_one_file_start_one_after_another(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    starts: list[str] = []

    def start(server: object, log: object) -> None:
        with pytest.raises(Timeout), private_lock(home / ".own.db.start.lock").acquire(timeout=0):
            starts.append("two at once")
        starts.append("alone")

    monkeypatch.setattr(_temporary_server, "_start", start)
    monkeypatch.setattr("prefect.server.api.server.SubprocessASGIServer._instances", {})
    url = f"sqlite+aiosqlite:///{home / 'own.db'}"
    with temporary_settings({PREFECT_API_DATABASE_CONNECTION_URL: url}):
        _temporary_server._start_temporary()
        with private_lock(home / ".own.db.start.lock").acquire(timeout=0):
            starts.append("released")
    assert starts == ["alone", "released"]


@pytest.mark.parametrize("path", [":memory:", "file::memory:?cache=shared&uri=true"])
def test_a_database_in_memory_has_no_file(path: str) -> None:
    with temporary_settings({PREFECT_API_DATABASE_CONNECTION_URL: f"sqlite+aiosqlite:///{path}"}):
        assert database_file() is None


@pytest.mark.usefixtures("prefect_server")
def test_a_named_server_that_is_there_is_used() -> None:
    ensure_server()


@pytest.mark.parametrize("by_variable", [True, False])
@pytest.mark.slow
def test_a_named_server_that_is_not_there_is_named_with_who_names_it(
    by_variable: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if by_variable:
        monkeypatch.setenv("PREFECT_API_URL", "http://127.0.0.1:9/api")
    else:
        monkeypatch.delenv("PREFECT_API_URL", raising=False)
    with (
        temporary_settings({PREFECT_API_URL: "http://127.0.0.1:9/api"}),
        pytest.raises(ServerUnavailable, match=r"127\.0\.0\.1:9/api does not answer") as caught,
    ):
        ensure_server()
    assert ("the environment variable" in caught.value.cause) == by_variable
    assert ("prefect config" in caught.value.remedy) != by_variable


# A server of Prefect with a login; Prefect 2; a page for signing in.
@pytest.mark.parametrize(
    ("health", "version", "shown"),
    [
        (answer(True), answer({"detail": "Unauthorized"}, 401), "refuses this program .*: it answers 401"),
        (answer({"detail": "Forbidden"}, 403), b"", "refuses this program .*: it answers 403"),
        (answer({"detail": "Not Found"}, 404), b"", "cannot be used .*: it answers 404"),
        (answer(True), answer("2.20.1"), "cannot be used .*: Found incompatible versions"),
        (answer(b"<html>"), answer(b"<html>"), "cannot be used .*: Expecting value"),
    ],
)
def test_a_named_server_that_cannot_be_used_is_named_with_the_reason(
    health: bytes, version: bytes, shown: str
) -> None:
    replies = {"/api/health": health, "/api/admin/version": version}
    with RawNode(replies) as server:
        address = server.url.replace("//", "//me:secret@") + "/api"
        with (
            temporary_settings({PREFECT_API_URL: address}),
            pytest.raises(ServerUnavailable, match=shown) as caught,
        ):
            ensure_server()
    assert "secret" not in str(caught.value)


def test_a_key_that_no_request_can_carry_is_not_shown() -> None:
    with RawNode({}) as server:
        named: dict[Any, Any] = {PREFECT_API_URL: f"{server.url}/api", PREFECT_API_KEY: "secret\nkey"}
        with temporary_settings(named), pytest.raises(ServerUnavailable, match="PREFECT_API_KEY") as caught:
            ensure_server()
    assert "secret" not in str(caught.value)


def test_the_version_of_a_named_server_is_checked_as_prefect_does(caplog: pytest.LogCaptureFixture) -> None:
    replies = {"/api/health": answer(True), "/api/admin/version": answer("3.0.0")}
    with RawNode(replies) as server:
        address: dict[Any, Any] = {PREFECT_API_URL: f"{server.url}/api"}
        with temporary_settings(address):
            ensure_server()
            ensure_server()
        assert sum("older version" in each.message for each in caplog.records) == 1
        replies["/api/admin/version"] = answer("2.0.0")
        with temporary_settings({**address, PREFECT_CLIENT_SERVER_VERSION_CHECK_ENABLED: False}):
            ensure_server()


def test_a_named_server_that_is_busy_is_left_to_prefect() -> None:
    replies = {"/api/health": answer(True), "/api/admin/version": answer({"detail": "wait"}, 429)}
    with RawNode(replies) as server, temporary_settings({PREFECT_API_URL: f"{server.url}/api"}):
        ensure_server()


def test_that_temporary_servers_are_turned_off_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    off: dict[Any, Any] = {PREFECT_API_URL: None, PREFECT_SERVER_EPHEMERAL_ENABLED: False}
    with temporary_settings(off), pytest.raises(ServerUnavailable, match="turned off"):
        ensure_server()


LOGIN = """
import os, threading
import httpx
from prefect.client.orchestration import get_client
from prefect.server.api.server import SubprocessASGIServer
from prefect.settings import PREFECT_LOGGING_LEVEL, temporary_settings
from prefect_ollama.flows.base._temporary_server import ensure_server, temporary_server_login

def reads():
    with get_client(sync_client=True) as client:
        print(client.read_block_types() != [])

with temporary_settings({PREFECT_LOGGING_LEVEL: "ERROR"}):
    ensure_server()
    with temporary_server_login():
        reads()
thread = threading.Thread(target=reads)
thread.start()
thread.join()
print(httpx.post(SubprocessASGIServer().api_url + "/block_documents/filter", json={}).status_code)
print(os.environ.get("PREFECT_API_AUTH_STRING"))
"""


@pytest.mark.parametrize("chosen", [None, pytest.param("me:secret", marks=pytest.mark.slow)])
def test_a_temporary_server_answers_only_those_with_its_login(home: Path, chosen: str | None) -> None:
    clean = {name: each for name, each in os.environ.items() if name != "PREFECT_API_URL"}
    env = clean | {"PREFECT_HOME": str(home), "PREFECT_SERVER_EPHEMERAL_ENABLED": "true"}
    if chosen:
        env["PREFECT_API_AUTH_STRING"] = chosen
    done = subprocess.run([sys.executable, "-c", LOGIN], env=env, capture_output=True, text=True, timeout=580)
    assert done.stdout.split() == ["True", "True", "401", str(chosen)], done.stderr


SCRIPT = """
import os, sys
from prefect_ollama.flows.base._temporary_server import ensure_server
ensure_server()
from prefect.server.api.server import SubprocessASGIServer
print(SubprocessASGIServer().server_process.pid, flush=True)
if sys.argv[1] == "wait":
    sys.stdin.read()
"""


@pytest.mark.slow
@pytest.mark.parametrize("how", ["ends", "is killed"])
def test_a_temporary_server_ends_with_its_process(home: Path, how: str) -> None:
    clean = {name: each for name, each in os.environ.items() if name != "PREFECT_API_URL"}
    process = subprocess.Popen(
        [sys.executable, "-c", SCRIPT, "wait" if how == "is killed" else "end"],
        env=clean | {"PREFECT_HOME": str(home), "PREFECT_SERVER_EPHEMERAL_ENABLED": "true"},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert process.stdout is not None
    server = int(process.stdout.readline())
    watched = os.pidfd_open(server)
    if how == "is killed":
        process.kill()
    process.communicate(timeout=240)

    async def gone() -> None:
        ended = asyncio.Event()
        asyncio.get_running_loop().add_reader(watched, ended.set)
        await asyncio.wait_for(ended.wait(), 240)

    try:
        asyncio.run(gone())
    finally:
        os.close(watched)


@pytest.mark.slow
def test_flows_are_imported_without_prefects_server() -> None:
    """Its import takes as long as that of all flows, and runs with a named server need none."""
    code = (
        "import sys, prefect_ollama.flows; print([name for name in sys.modules if 'prefect.server' in name])"
    )
    said = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=240, check=True
    )
    assert said.stdout.strip() == "[]"
