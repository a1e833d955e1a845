"""`deployments/compose.yaml`: its commands work together, as processes of this machine and with a real PostgreSQL.

There is no Docker here. What Docker adds, names of hosts and volumes, is put in by hand.
"""

from __future__ import annotations

import contextlib
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cloudpickle
import distributed
import httpx
import pytest
import yaml
from distributed.security import Security

from tests.flow_samples import manifest, write_folder
from tests.nodes import nodes
from tests.services import NO_IDLE_CONNECTIONS, Api, Place, Service, free_port
from tests.waiting import until

ROOT = Path(__file__).parent.parent
FOLDER = ROOT / "deployments"
COMPOSE = yaml.safe_load((FOLDER / "compose.yaml").read_text(encoding="utf-8"))
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
RUNS = ("worker", "parse", "embed")


def filled(text: str, values: dict[str, str]) -> str:
    """A value with its `${NAME:-default}` and `${NAME:?why}` replaced, as Docker does."""

    def value(found: re.Match[str]) -> str:
        name, mark, rest = found.groups()
        if name in values:
            return values[name]
        assert mark == "-", f"{name}: {rest}"
        return rest

    return re.sub(r"\$\{(\w+):([-?])([^}]*)\}", value, text)


class TestFile:
    def test_services_wait_for_what_is_there_and_can_tell_that_it_is_healthy(self) -> None:
        for service in SERVICES.values():
            waits = service.get("depends_on", [])
            assert set(waits) <= set(SERVICES)
            if isinstance(waits, dict):
                asked = {name for name, each in waits.items() if each["condition"] == "service_healthy"}
                assert all("healthcheck" in SERVICES[name] for name in asked)

    def test_volumes_are_declared(self) -> None:
        used = {each.split(":")[0] for service in SERVICES.values() for each in service.get("volumes", [])}
        assert {each for each in used if each.isalpha()} == set(COMPOSE["volumes"])

    def test_runs_find_the_same_home_files_and_nodes_everywhere(self) -> None:
        """The flow names table, cache and files by path, and the workers look there."""
        assert len({tuple(SERVICES[name]["volumes"]) for name in RUNS}) == 1
        for name in ("PREFECT_API_URL", "OLLAMA_HOST"):
            assert len({SERVICES[each]["environment"][name] for each in RUNS}) == 1

    def test_the_default_source_of_the_deployments_is_mounted(self) -> None:
        entries = yaml.safe_load((FOLDER / "prefect.yaml").read_text(encoding="utf-8"))["deployments"]
        (source,) = (
            each["parameters"]["source"] for each in entries if "source" in each.get("parameters", {})
        )
        assert any(f":{source}:ro" in each for each in SERVICES["worker"]["volumes"])

    def test_nothing_listens_beyond_this_host(self) -> None:
        ports = [each for service in SERVICES.values() for each in service.get("ports", [])]
        assert ports
        assert all(each.startswith("127.0.0.1:") for each in ports)

    def test_passwords_and_images_have_to_be_chosen(self) -> None:
        of_server, of_database = (SERVICES[name]["environment"] for name in ("server", "database"))
        for value, why in (
            (of_server["PREFECT_SERVER_DATABASE_CONNECTION_URL"], "choose one"),
            (of_database["POSTGRES_PASSWORD"], "choose one"),
            (of_server["PREFECT_SERVER_API_AUTH_STRING"], "choose a user and a password"),
            (SERVICES["worker"]["environment"]["PREFECT_API_AUTH_STRING"], "choose a user and a password"),
            (SERVICES["database"]["image"], "by its digest"),
            (SERVICES["server"]["build"]["args"]["PYTHON_IMAGE"], "by its digest"),
        ):
            with pytest.raises(AssertionError, match=why):
                filled(value, {})

    @pytest.mark.parametrize("name", SERVICES)
    def test_services_have_no_rights_that_they_do_not_need(self, name: str) -> None:
        service = SERVICES[name]
        assert service["read_only"] is True
        assert service["cap_drop"] == ["ALL"]
        assert service["security_opt"] == ["no-new-privileges:true"]
        assert "/tmp" in service["tmpfs"]
        assert not {"cap_add", "privileged", "pid", "ipc"} & service.keys()

    def test_dask_and_database_are_on_networks_of_their_own(self) -> None:
        on = {
            network: {name for name, service in SERVICES.items() if network in service.get("networks", [])}
            for network in COMPOSE["networks"]
        }
        assert on == {
            "database": {"database", "server"},
            "api": {"server", "setup", *RUNS},
            "dask": {"scheduler", *RUNS},
        }
        assert {name for name, each in COMPOSE["networks"].items() if each and each.get("internal")} == {
            "database",
            "dask",
        }
        assert all(
            service.get("networks") or service["network_mode"] == "none" for service in SERVICES.values()
        )

    def test_dask_takes_none_without_a_certificate(self) -> None:
        for name in ("scheduler", *RUNS):
            assert SERVICES[name]["environment"]["DASK_DISTRIBUTED__COMM__REQUIRE_ENCRYPTION"] == "true"
            assert "certificates:/certificates:ro" in SERVICES[name]["volumes"]


class TestImage:
    LINES = (FOLDER / "Dockerfile").read_text(encoding="utf-8").replace("\\\n", " ").splitlines()

    def test_it_copies_all_that_the_package_is_made_of(self) -> None:
        project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
        wanted = {*project["tool"]["setuptools"]["package-dir"].values(), "pyproject.toml", "uv.lock"}
        wanted |= {project["project"]["readme"], *project["project"]["license-files"]}
        copied = {name for line in self.LINES if line.startswith("COPY ") for name in line.split()[1:-1]}
        assert wanted | {"deployments/prefect.yaml"} == copied
        assert all((ROOT / name).exists() for name in copied)

    @pytest.mark.slow
    def test_what_it_installs_works_without_the_sources(self, tmp_path: Path) -> None:
        uv = os.environ.get("UV") or shutil.which("uv")
        assert uv, "run the tests by `uv run pytest`"
        src = tmp_path / "src"
        src.mkdir()
        for line in self.LINES:
            if line.startswith("COPY ") and "/etc/" not in line:
                for name in line.split()[1:-1]:
                    copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
                    copy(ROOT / name, src / name)
        (install,) = (line.removeprefix("RUN ") for line in self.LINES if line.startswith("RUN uv "))
        # Docker's layers keep no cache; here the one of this machine saves the downloads.
        command = [uv, *shlex.split(install.replace(" --no-cache", ""))[1:]]
        env = os.environ | {"UV_PROJECT_ENVIRONMENT": str(tmp_path / "env"), "VIRTUAL_ENV": ""}
        subprocess.run(command, cwd=src, env=env, check=True, timeout=240)
        shutil.rmtree(src)
        python = tmp_path / "env" / "bin" / "python"
        code = (
            "import asyncpg, prefect_ollama.flows; print(prefect_ollama.flows.__file__);"
            "from prefect_ollama.blocks.embedded import count_tokens; print(count_tokens('one word'))"
        )
        flows, tokens = subprocess.check_output([python, "-c", code], cwd=tmp_path, text=True).split()
        assert flows.startswith(str(tmp_path / "env"))
        assert int(tokens) > 0  # the embedded model's files are there


@contextlib.contextmanager
def postgres(place: Place, user: str, password: str, database: str) -> Iterator[int]:
    """The port of a PostgreSQL server of its own."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin"))
    assert found, "apt-get install postgresql"
    # It refuses to run as root, and pytest's folders are closed to others.
    as_other = ["runuser", "-u", "postgres", "--"] if os.getuid() == 0 else []
    port = free_port()
    with tempfile.TemporaryDirectory(prefix="postgres-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        secret = folder / "password"
        secret.write_text(password)
        for path in (folder, secret):
            if as_other:
                shutil.chown(path, "postgres")
        data = folder / "data"
        initdb = (found[-1] / "initdb", "-D", data, "-U", user, "--pwfile", secret, "--auth", "scram-sha-256")
        place.run(*as_other, *initdb, "--no-sync")
        options = ("-D", data, "-p", str(port), "-k", folder, "-c", "listen_addresses=127.0.0.1")
        with place.serving(
            "database", *as_other, found[-1] / "postgres", *options, env={"PGPASSWORD": password}
        ):
            ask = ("psql", "-h", "127.0.0.1", "-p", str(port), "-U", user, "-d", "postgres", "-c")
            env = place.env | {"PGPASSWORD": password}
            until(lambda: subprocess.run([*ask, "select 1"], env=env, capture_output=True).returncode == 0)
            subprocess.run([*ask, f"create database {database}"], env=env, check=True, capture_output=True)
            yield port


def scheduled(api: Api) -> set[str]:
    """Names of the flows that will start by the clock."""
    runs = api.post("/flow_runs/filter", flow_runs={"state": {"type": {"any_": ["SCHEDULED"]}}})
    names = {each["id"]: each["name"] for each in api.post("/flows/filter")}
    return {names[each["flow_id"]] for each in runs if each["auto_scheduled"]}


class Where(distributed.SchedulerPlugin):
    """Where tasks ran: the resources that their workers offer."""

    def __init__(self) -> None:
        self.ran: set[tuple[str, tuple[str, ...]]] = set()

    async def start(self, scheduler: distributed.Scheduler) -> None:
        self.scheduler = scheduler

    def transition(self, key: Any, start: str, finish: str, *args: Any, **kwargs: Any) -> None:
        if (start, finish) == ("processing", "memory") and (name := kwargs.get("worker")):
            worker = self.scheduler.workers[name]
            self.ran.add((str(key).split("-")[0], tuple(worker.resources)))


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_its_commands_work_together(tmp_path: Path) -> None:
    """Server on PostgreSQL, set-up, worker, Dask: by the commands, environments and health checks of the file."""
    place = Place(tmp_path)
    write_folder(tmp_path / "pdfs", ["apple", "birch", "cedar"])
    api_port, dask_port = free_port(), free_port()
    here = {
        "server:4200": f"127.0.0.1:{api_port}",
        "127.0.0.1:4200": f"127.0.0.1:{api_port}",
        "--port 4200": f"--port {api_port}",
        "scheduler:8786": f"127.0.0.1:{dask_port}",
        "--port 8786": f"--port {dask_port}",
        "0.0.0.0": "127.0.0.1",
        "/certificates": str(tmp_path / "certificates"),
        "/data/ui": str(tmp_path / "ui"),
        "/etc/prefect-ollama": str(FOLDER),
    }
    values = {"POSTGRES_PASSWORD": "s3cretword", "API_LOGIN": "me:an-0ther-word"}
    (tmp_path / "certificates").mkdir()

    def local(text: str) -> str:
        text = filled(text, values)
        for old, new in here.items():
            text = text.replace(old, new)
        return text

    def env(name: str) -> dict[str, str]:
        return {key: local(value) for key, value in SERVICES[name].get("environment", {}).items()}

    def serving(name: str) -> contextlib.AbstractContextManager[Service]:
        return place.serving(name, *shlex.split(local(SERVICES[name]["command"])), env=env(name))

    def healthy(name: str) -> bool:
        check = shlex.split(local(SERVICES[name]["healthcheck"]["test"]))
        return subprocess.run(check, env=place.env, capture_output=True).returncode == 0

    database = {key: filled(value, values) for key, value in SERVICES["database"]["environment"].items()}
    with contextlib.ExitStack() as stack:
        (node,) = stack.enter_context(nodes({"texts_per_second": 400}))
        values["OLLAMA_URL"] = node.url
        port = stack.enter_context(
            postgres(place, database["POSTGRES_USER"], database["POSTGRES_PASSWORD"], database["POSTGRES_DB"])
        )
        here["database:5432"] = f"127.0.0.1:{port}"
        here["pg_isready"] = f"pg_isready --host 127.0.0.1 --port {port}"
        assert healthy("database")
        server = stack.enter_context(serving("server"))
        until(lambda: healthy("server"), why=lambda: server.said)
        setup = [
            place.run(*shlex.split(local(SERVICES["setup"]["command"])), env=env("setup")) for _ in range(2)
        ]
        assert all("prefect deployment run 'roll-back/by-hand'" in said for said in setup)
        url = f"http://127.0.0.1:{api_port}/api"
        client = httpx.Client(base_url=url, limits=NO_IDLE_CONNECTIONS, timeout=240)
        api = Api(stack.enter_context(client))
        assert api.client.post("/flows/filter", json={}).status_code == 401
        api.client.auth = tuple(values["API_LOGIN"].split(":"))
        origin = {"Origin": "http://elsewhere.example"}
        assert "access-control-allow-origin" not in api.client.get("/health", headers=origin).headers
        until(
            lambda: scheduled(api) >= {"ingest-pdfs", "check-nodes", "maintain-table"},
            why=lambda: server.said,
        )
        for _ in range(2):  # the second time it is kept
            place.run(*shlex.split(local(SERVICES["certificates"]["command"])))
        certificate, key = (tmp_path / "certificates" / name for name in ("dask.crt", "dask.key"))
        assert key.stat().st_mode & 0o777 == 0o600
        stack.enter_context(serving("scheduler"))
        for name in RUNS:
            stack.enter_context(serving(name))
        client = stack.enter_context(
            distributed.Client(
                f"tls://127.0.0.1:{dask_port}",
                security=Security(
                    tls_ca_file=str(certificate), tls_client_cert=str(certificate), tls_client_key=str(key)
                ),
                timeout="240s",
                set_as_default=False,
            )
        )
        client.wait_for_workers((os.cpu_count() or 1) + 1, timeout=240)
        cloudpickle.register_pickle_by_value(sys.modules[__name__])  # the scheduler knows no tests
        client.register_plugin(Where(), name="where")
        run = api.start("ingest-pdfs/nightly", source=str(tmp_path / "pdfs"))
        assert api.reached(run)["state_name"] == "Completed", api.story(run)
        ran = client.run_on_scheduler(lambda dask_scheduler: dask_scheduler.plugins["where"].ran)
        assert ran == {("parse", ("parse",)), ("embed", ("embed",))}
        assert {row.status for row in manifest(place.home / "lancedb").values()} == {"stored"}
