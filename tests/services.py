"""Services in processes of their own, as somebody runs them for good: Prefect's server, a worker, Dask.

They are told apart from the session's server by an environment of their own, and end with their context.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from tests.nodes.ports import bound
from tests.waiting import until

BIN = Path(sys.executable).parent
FINAL = {"COMPLETED", "FAILED", "CRASHED", "CANCELLED"}


def free_port() -> int:
    """A port that no client gets for its own end before a server listens there."""
    with bound() as free:
        return int(free.getsockname()[1])


@dataclass
class Service:
    """A command that runs until it is stopped, in a process group of its own."""

    command: Sequence[str]
    log: Path
    env: Mapping[str, str]
    cwd: Path
    process: subprocess.Popen[bytes] | None = field(default=None, init=False)

    def start(self) -> None:
        with self.log.open("ab") as out:
            self.process = subprocess.Popen(
                self.command,
                env=self.env,
                cwd=self.cwd,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    @property
    def said(self) -> str:
        return self.log.read_text(errors="replace")

    def running(self) -> bool:
        return self.process is not None and self.process.poll() is None

    def terminate(self) -> None:
        """End it as systemd and Docker do: it alone is asked, and may look after its own."""
        assert self.process is not None
        self.process.terminate()
        self.process.wait(240)

    def kill(self) -> None:
        """All of its group at once, as when the power fails."""
        assert self.process is not None
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait(240)


@dataclass
class Place:
    """A folder with a Prefect home, from where services and commands of one installation run."""

    folder: Path
    more_env: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.home = self.folder / "home"
        self.home.mkdir(parents=True, exist_ok=True)

    @property
    def env(self) -> dict[str, str]:
        return os.environ | {
            "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}",
            "PREFECT_HOME": str(self.home),
            "PREFECT_PROFILES_PATH": str(self.home / "profiles.toml"),
            "PREFECT_WORKER_QUERY_SECONDS": "1",
            "PREFECT_RUNNER_POLL_FREQUENCY": "1",
            **self.more_env,
        }

    def run(self, *command: str | Path, cwd: Path | None = None, env: Mapping[str, str] | None = None) -> str:
        """Run a command to its end and return what it printed."""
        done = subprocess.run(
            [str(part) for part in command],
            cwd=cwd or self.folder,
            env=self.env | (env or {}),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=540,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    @contextlib.contextmanager
    def serving(
        self, name: str, *command: str | Path, env: Mapping[str, str] | None = None
    ) -> Iterator[Service]:
        """A service, for as long as the context lasts."""
        service = Service(
            [str(part) for part in command], self.folder / f"{name}.log", self.env | (env or {}), self.folder
        )
        service.start()
        try:
            yield service
        finally:
            if service.running():
                service.process.terminate()
                with contextlib.suppress(subprocess.TimeoutExpired):
                    service.process.wait(240)
            service.kill()


# Prefect's server closes a connection that was idle for five seconds. A request that is sent at that moment fails.
NO_IDLE_CONNECTIONS = httpx.Limits(max_keepalive_connections=0)


def call(client: httpx.Client, method: str, path: str, **more: Any) -> httpx.Response:
    """What a server says that was asked again for as long as it was busy."""

    def answer() -> httpx.Response | None:
        # 503 is what a server on SQLite says while it writes something else; Prefect's own client asks again, too.
        answer = client.request(method, path, **more)
        return None if answer.status_code == 503 else answer

    return until(answer).raise_for_status()


class Api:
    """Prefect's API, asked as its UI asks."""

    def __init__(self, client: httpx.Client) -> None:
        self.client = client

    def healthy(self) -> bool:
        with contextlib.suppress(httpx.TransportError):
            return self.client.get("/health").json() is True
        return False

    def get(self, path: str) -> Any:
        return self._call("GET", path)

    def post(self, path: str, **body: Any) -> Any:
        return self._call("POST", path, json=body)

    def _call(self, method: str, path: str, **more: Any) -> Any:
        return call(self.client, method, path, **more).json()

    def deployment(self, name: str) -> dict[str, Any]:
        return self.get(f"/deployments/name/{name}")

    def start(self, name: str, **parameters: Any) -> str:
        """Start a run of a deployment, as **Run → Custom run** does, and return its id."""
        deployment = self.deployment(name)["id"]
        state = {"type": "SCHEDULED", "message": "Run from the Prefect UI"}
        return self.post(f"/deployments/{deployment}/create_flow_run", parameters=parameters, state=state)[
            "id"
        ]

    def flow_run(self, flow_run: str) -> dict[str, Any]:
        return self.get(f"/flow_runs/{flow_run}")

    def reached(self, flow_run: str, *names: str, seconds: float = 240) -> dict[str, Any]:
        """The flow run once its state has one of these names or, without any, is final."""

        def read() -> dict[str, Any] | None:
            found = self.flow_run(flow_run)
            right = found["state_name"] in names if names else found["state_type"] in FINAL
            return found if right else None

        # A run takes ten seconds and more, and each question takes its server's time.
        return until(read, seconds=seconds, every=0.5, why=lambda: self.story(flow_run))

    def story(self, flow_run: str) -> str:
        """What happened to a flow run, for people."""
        states = self.get(f"/flow_run_states/?flow_run_id={flow_run}")
        logs = self.post("/logs/filter", logs={"flow_run_id": {"any_": [flow_run]}}, sort="TIMESTAMP_ASC")
        lines = [f"{each['timestamp']} {each['name']}: {each['message']}" for each in states]
        return "\n".join(lines + [each["message"] for each in logs])


@contextlib.contextmanager
def prefect_server(place: Place, *command: str, **env: str) -> Iterator[tuple[Api, Service]]:
    """A server of Prefect's with its UI, by `command` or by the plain one."""
    port = str(free_port())
    url = f"http://127.0.0.1:{port}/api"
    place.more_env = {**place.more_env, "PREFECT_API_URL": url}
    start = [*(command or (BIN / "prefect", "server", "start")), "--host", "127.0.0.1", "--port", port]
    with (
        place.serving("server", *start, env={"PREFECT_SERVER_UI_API_URL": url, **env}) as service,
        httpx.Client(base_url=url, limits=NO_IDLE_CONNECTIONS, timeout=240) as client,
    ):
        api = Api(client)
        until(api.healthy, why=lambda: service.said)
        yield api, service
