"""Secrets show nowhere: not in what is pickled, logged, stored, sent to the server or raised, whatever goes wrong."""

from __future__ import annotations

import contextlib
import os
import pickle
import subprocess
import sys
import uuid
from base64 import b64encode
from dataclasses import replace
from pathlib import Path

import cloudpickle
import distributed
import pytest
from pydantic import SecretStr

from prefect_ollama.blocks import LanceTable, OllamaCluster, OllamaNode
from prefect_ollama.blocks.errors import ConfigurationError
from prefect_ollama.blocks.lance._error_text import short
from prefect_ollama.blocks.lance.opening import connect, open_table
from prefect_ollama.blocks.nodes.spec import NodeSpec
from prefect_ollama.blocks.secrets import MASK, Sealed, give, safe_cause, seal, take_back, without_secrets
from prefect_ollama.flows.runner._local_cluster import WorkerCluster
from prefect_ollama.flows.runner._worker_secrets import WorkerSecrets
from prefect_ollama.tasks.parsing import ParseOptions
from prefect_ollama.tasks.prefect_state.task_options import ROLES, Opaque
from tests.nodes import Node

TOKEN = "tok-3f9a-secret"


def specs(secret: str) -> list[object]:
    """Everything that the machinery holds a secret in."""
    node = OllamaNode(url="http://gpu:11434", token=secret, headers={"X-Key": secret})
    basic = OllamaNode(url="http://gpu:11435", username="me", password=secret)
    return [
        OllamaCluster(nodes=[node, basic]),
        OllamaCluster(nodes=[node, basic]).to_spec(),
        LanceTable(uri="s3://bucket/x", storage_options={"secret_access_key": secret}),
        LanceTable(uri="s3://bucket/x", storage_options={"secret_access_key": secret}).to_spec(),
        ParseOptions(passwords=(("*.pdf", SecretStr(secret)),)),
        Sealed(secret),
    ]


@pytest.mark.parametrize("holder", specs(TOKEN), ids=lambda holder: type(holder).__name__)
@pytest.mark.parametrize("dumps", [pickle.dumps, cloudpickle.dumps])
def test_what_holds_secrets_is_pickled_and_shown_without_them(holder: object, dumps: object) -> None:
    pickled = dumps(Opaque(holder))  # type: ignore[operator]
    assert TOKEN.encode() not in pickled
    again = pickle.loads(pickled).content
    assert again == holder
    for shown in (repr(holder), str(holder), repr(again), f"{again}"):
        assert TOKEN not in shown


def test_a_ticket_opens_in_this_process_and_where_the_secret_was_given(tmp_path: Path) -> None:
    spec = NodeSpec("gpu", headers=(("X-Key", SecretStr(TOKEN)),))
    assert pickle.loads(pickle.dumps(spec)).headers[0][1].get_secret_value() == TOKEN
    ticket = seal(SecretStr(TOKEN)).ticket
    (tmp_path / "spec").write_bytes(pickle.dumps(spec))
    program = """
import pickle, sys
from pathlib import Path
from prefect_ollama.blocks.errors import ConfigurationError
from prefect_ollama.blocks.secrets import give, without_secrets, take_back
spec = pickle.loads(Path(sys.argv[1]).read_bytes())
secret = spec.headers[0][1]
print(spec)
for given in (False, True, False):
    if given:
        give("a run", {sys.argv[2]: input()})
    try:
        value = secret.get_secret_value()
        print("known", len(value), without_secrets(f"refused {value!r}"))
        take_back("a run")
    except ConfigurationError as error:
        print("unknown", error.remedy)
"""
    arguments = [sys.executable, "-c", program, str(tmp_path / "spec"), ticket]
    said = subprocess.run(
        arguments, input=TOKEN + "\n", capture_output=True, text=True, timeout=240, check=True
    )
    shown, before, given, after = said.stdout.splitlines()
    assert MASK in shown
    assert TOKEN not in said.stdout
    assert before == after
    assert before.startswith("unknown Save the block")
    assert given == f"known {len(TOKEN)} refused '{MASK}'"


def test_secrets_are_hidden_in_texts_with_and_without_their_scheme() -> None:
    sealed = [seal(SecretStr("Bearer abcdef-1")), seal(SecretStr("abcdef-1-longer")), seal(SecretStr("no"))]
    assert without_secrets("said abcdef-1, Bearer abcdef-1 and abcdef-1-longer, but no") == (
        f"said {MASK}, {MASK} and {MASK}, but no"
    )
    assert safe_cause(ValueError("abcdef-1")) is None
    assert str(safe_cause(ValueError("abc"))) == "abc"
    assert sealed[0] == SecretStr("Bearer abcdef-1")
    assert sealed[0] != sealed[1]


def test_an_object_stores_words_are_shown_without_keys() -> None:
    options = {"secret_access_key": "wJalrXUtnFEMI/K7", "region": "eu-central-1"}
    spec = LanceTable(uri="s3://bucket/x", storage_options=options).to_spec()
    assert replace(spec, table="other").options == options
    error = OSError("request ?X-Key=wJalrXUtnFEMI/K7&Signature=… to eu-central-1 failed")
    assert short(error) == f"request ?X-Key={MASK}&Signature=… to eu-central-1 failed"


def test_storage_options_reach_the_object_store(tmp_path: Path) -> None:
    spec = LanceTable(uri=str(tmp_path / "db"), storage_options={"secret_access_key": TOKEN}).to_spec()
    assert open_table(connect(spec), spec, "x") is None


@pytest.mark.parametrize("way", ["401", "500", "redirect"])
def test_a_proxy_that_repeats_what_it_was_sent_tells_nobody(way: str) -> None:
    sent = b64encode(f"me:{TOKEN}".encode()).decode()
    echo = f"bad credentials {TOKEN} in Basic {sent} " + "x" * 160 + TOKEN
    fault = {
        "401": {"name": "unauthorized", "message": echo, "paths": ["*"]},
        "500": {"name": "http500", "message": echo, "paths": ["*"]},
        "redirect": {"name": "redirect", "location": f"/login?was={TOKEN}", "paths": ["*"]},
    }[way]
    with Node(faults=(fault,)) as node:
        check = OllamaNode(url=node.url, username="me", password=TOKEN).check()
    assert not check.ok
    assert "xxx" not in check.error
    assert TOKEN[:8] not in check.error
    assert sent[:8] not in check.error


class TestWorkers:
    def test_get_the_secrets_of_what_they_are_sent_and_forget_them(self, dask_workers: str) -> None:
        first, second, other = (Sealed(f"{TOKEN}-{n}") for n in range(3))
        with distributed.Client(dask_workers, set_as_default=False) as client:
            worker_secrets = WorkerSecrets(client, "test-run")
            arguments = Opaque(NodeSpec("gpu", headers=(("X-Key", first),)))
            worker_secrets.of({"a": arguments, "b": client.submit(len, "abc")})
            worker_secrets.of({"a": arguments})
            worker_secrets.of({"a": second, "b": lambda: None})

            def opened(*secrets: Sealed) -> list[str]:
                found = []
                for secret in secrets:
                    try:
                        found.append(secret.get_secret_value())
                    except ConfigurationError:
                        found.append("")
                return found

            everywhere = client.run(opened, first, second, other)
            assert len(everywhere) == 2
            assert set(map(tuple, everywhere.values())) == {(f"{TOKEN}-0", f"{TOKEN}-1", "")}
            worker_secrets.end()
            assert set(map(tuple, client.run(opened, first, second).values())) == {("", "")}

    @pytest.mark.parametrize("own", [True, False])
    def test_only_those_of_the_role_hold_a_secret(self, prefect_server: str, own: bool) -> None:
        """What reads PDFs knows no token; that is looked for in all of its memory."""
        for_nodes, for_all = Sealed(f"token-{uuid.uuid4().hex}"), Sealed(f"other-{uuid.uuid4().hex}")
        with (
            WorkerCluster(1, 1, env={"PREFECT_API_URL": prefect_server}) as cluster,
            distributed.Client(cluster, set_as_default=False) as client,
        ):
            client.wait_for_workers(2, timeout=240)
            worker_secrets = WorkerSecrets(client, "test-run", ROLES, cluster.keys if own else None)
            worker_secrets.of({"a": for_nodes}, "embed")
            worker_secrets.of({"a": for_all}, None)
            names = {address: each["name"] for address, each in client.scheduler_info(-1)["workers"].items()}

            def opened(*secrets: Sealed) -> list[str]:
                found = []
                for secret in secrets:
                    with contextlib.suppress(ConfigurationError):
                        found.append(secret.get_secret_value())
                return found

            known = {names[each]: got for each, got in client.run(opened, for_nodes, for_all).items()}
            assert known == {
                "embed": [for_nodes.get_secret_value(), for_all.get_secret_value()],
                "parse-0": [for_all.get_secret_value()],
            }
            pids = {names[address]: pid for address, pid in client.run(os.getpid).items()}
            if own:
                assert in_memory(pids["embed"], for_nodes.get_secret_value().encode())
                assert not in_memory(pids["parse-0"], for_nodes.get_secret_value().encode())


def in_memory(pid: int, data: bytes) -> bool:
    """Whether the memory that a process may write to holds these bytes."""
    with Path(f"/proc/{pid}/mem").open("rb", buffering=0) as memory:
        for line in Path(f"/proc/{pid}/maps").read_text().splitlines():
            span, rights, *_ = line.split()
            if rights.startswith("rw"):
                first, last = (int(each, 16) for each in span.split("-"))
                memory.seek(first)
                with contextlib.suppress(OSError):
                    if data in memory.read(last - first):
                        return True
    return False


def test_what_was_given_is_forgotten() -> None:
    give("someone", {"ticket": "a-given-secret"})
    take_back("someone")
    take_back("someone")
    assert without_secrets("a-given-secret") == MASK
