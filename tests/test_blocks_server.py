"""The blocks on a real Prefect server: saved, loaded and used, edited as its UI does, and never telling secrets."""

from __future__ import annotations

import asyncio
import json
import os
import pickle
import re
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cloudpickle
import httpx
import pytest
from prefect import flow, get_run_logger, task
from prefect.blocks.core import Block
from prefect.logging.handlers import APILogWorker

import prefect_ollama
from prefect_ollama.blocks import LanceTable, OllamaCluster, OllamaNode
from prefect_ollama.blocks.errors import ConfigurationError
from prefect_ollama.blocks.resolve import resolve_cluster, resolve_table
from prefect_ollama.tasks.searching import reranker_of
from tests.nodes import Node
from tests.services import NO_IDLE_CONNECTIONS, call

ROOT = Path(__file__).parents[1]
SECRET = "s3cret-" + "x" * 20


class Api:
    """The server as the UI speaks with it."""

    def __init__(self, url: str) -> None:
        self.http = httpx.Client(base_url=url, trust_env=False, limits=NO_IDLE_CONNECTIONS, timeout=240)

    def post(self, path: str, body: Any = None) -> Any:
        return call(self.http, "POST", path, json=body or {}).json()

    def block_type(self, kind: type[Block]) -> dict[str, Any]:
        return dict(call(self.http, "GET", f"/block_types/slug/{kind.get_block_type_slug()}").json())

    def schema(self, kind: type[Block]) -> dict[str, Any]:
        types = {"block_type_id": {"any_": [self.block_type(kind)["id"]]}}
        return dict(self.post("/block_schemas/filter", {"block_schemas": types, "limit": 1})[0])

    def create(self, kind: type[Block], name: str, data: dict[str, Any]) -> str:
        """As the UI's form does; the server checks no values."""
        schema = self.schema(kind)
        made = self.post(
            "/block_documents/",
            {
                "name": name,
                "data": data,
                "block_schema_id": schema["id"],
                "block_type_id": schema["block_type_id"],
            },
        )
        return str(made["id"])

    def document(self, document_id: str, *, include_secrets: bool = False) -> dict[str, Any]:
        params = {"include_secrets": include_secrets}
        return dict(call(self.http, "GET", f"/block_documents/{document_id}", params=params).json())

    def form_errors(self, kind: type[Block], values: dict[str, Any]) -> dict[str, Any]:
        """What the UI's form says, by field."""
        answer = self.post("/ui/schemas/validate", {"schema": self.schema(kind)["fields"], "values": values})
        return {each["property"]: each["errors"] for each in answer["errors"]}


@pytest.fixture(scope="module")
def api(prefect_server: str) -> Api:
    register = [sys.executable, "-m", "prefect", "block", "register", "-m", "prefect_ollama.blocks"]
    done = subprocess.run(register, capture_output=True, text=True, timeout=240, check=True)
    assert "4 blocks" in done.stdout, done.stdout
    return Api(prefect_server)


@pytest.fixture(scope="module")
def node() -> Iterator[Node]:
    with Node(dimension=16, headers={"authorization": f"Bearer {SECRET}"}) as started:
        yield started


@pytest.fixture
def name() -> str:
    """A name that no other test uses."""
    return f"block-{uuid.uuid4().hex[:8]}"


# In the catalogue


@pytest.mark.parametrize("kind", [OllamaNode, OllamaCluster, LanceTable])
@pytest.mark.sampled(2)
def test_the_catalogue_shows_each_block(api: Api, kind: type[Block]) -> None:
    shown = api.block_type(kind)
    assert shown["logo_url"]
    assert shown["description"]
    assert "save(" in shown["code_example"]
    assert f"import {kind.__name__}" in shown["code_example"]
    fields = api.schema(kind)["fields"]
    assert api.schema(kind)["version"] == prefect_ollama.__version__
    assert all(each["description"] and each["title"] for each in fields["properties"].values())


@pytest.mark.parametrize("kind", [OllamaNode, OllamaCluster, LanceTable])
@pytest.mark.sampled(2)
def test_the_example_of_each_block_works_as_it_stands(
    api: Api, kind: type[Block], name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code = str(api.block_type(kind)["code_example"]).removeprefix("```python").removesuffix("```")
    OllamaNode(url="http://127.0.0.1:9").save("gpu-box", overwrite=True)
    # Names and places that are free here, and nodes that answer at once, if only with a refusal.
    saved = re.findall(r'save\("([\w-]+)"\)', code)[0]
    code = code.replace(f'save("{saved}")', f'save("{name}")').replace("BLOCK_NAME", name)
    code = re.sub(r"http://\w[\w-]*:11434", "http://127.0.0.1:1", code).replace(
        "/data/lancedb", str(tmp_path)
    )
    exec(code, {})
    printed = capsys.readouterr().out
    assert ("ok=True" if kind is LanceTable else "ok=False") in printed


@pytest.mark.slow  # a process that imports Prefect and all of its collections
def test_saved_blocks_are_found_by_slug_through_the_entry_point(api: Api, name: str, tmp_path: Path) -> None:
    LanceTable(uri=str(tmp_path), table="papers").save(name)
    code = f"from prefect.blocks.core import Block; print(Block.load('lance-table/{name}').table)"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=240, check=True, cwd=tmp_path
    )
    assert done.stdout.strip() == "papers"


def test_saving_a_cluster_registers_the_nodes_its_form_offers(api: Api, name: str) -> None:
    for kind in (OllamaCluster, OllamaNode):
        api.http.delete(f"/block_types/{api.block_type(kind)['id']}")
    OllamaCluster(nodes=["http://gpu:11434"]).save(name)
    items = api.schema(OllamaCluster)["fields"]["properties"]["nodes"]["items"]["anyOf"]
    assert items[0]["block_type_slug"] == api.block_type(OllamaNode)["slug"]
    assert items[1]["type"] == "string"


# Saved, loaded, used


def test_a_saved_cluster_works_with_its_saved_nodes(api: Api, node: Node, name: str) -> None:
    gpu = OllamaNode(url=node.url, token=SECRET, max_in_flight=3)
    gpu.save(name)
    OllamaCluster(nodes=[gpu], num_ctx=512).save(name)
    cluster = OllamaCluster.load(name)
    assert cluster.nodes == [name]
    spec = cluster.to_spec()
    assert [(each.name, each.max_in_flight) for each in spec.nodes] == [(name, 3)]
    found = cluster.check()
    assert found.ok
    assert found.nodes[0].name == name
    assert resolve_cluster(name).spec == spec
    assert resolve_cluster([name]).spec.nodes == spec.nodes
    assert resolve_cluster(name).configured


def test_a_change_of_a_node_holds_for_its_clusters(api: Api, name: str) -> None:
    gpu = OllamaNode(url="http://gpu:11434", token=SECRET)
    document_id = gpu.save(name)
    by_name = OllamaCluster(nodes=[name])
    by_id = OllamaCluster(nodes=[{"$ref": {"block_document_id": str(document_id)}}])
    OllamaNode(url="http://gpu:8080", token=SECRET).save(name, overwrite=True)
    for cluster in (by_name, by_id):
        (spec,) = cluster.to_spec().nodes
        assert (spec.name, spec.url) == (name, "http://gpu:8080")


def test_blocks_work_in_async_code(api: Api, node: Node, name: str) -> None:
    async def use() -> None:
        await OllamaNode(url=node.url, token=SECRET).save(name)
        await OllamaCluster(nodes=[name]).save(name)
        cluster = await OllamaCluster.load(name)
        assert (await cluster.acheck()).ok
        assert cluster.check().ok
        assert resolve_cluster(name).spec.nodes[0].url == node.url

    asyncio.run(use())


def test_a_saved_table_is_found_by_its_name(api: Api, name: str, tmp_path: Path) -> None:
    block = LanceTable(uri=str(tmp_path), table="papers", storage_options={"secret_access_key": SECRET})
    block.save(name)
    assert resolve_table(f"block:{name}") == block.to_spec()
    assert LanceTable.load(name) == block
    with pytest.raises(ConfigurationError, match="no Lance Table block named 'nothing-here'"):
        resolve_table("block:nothing-here")


def test_a_missing_block_is_named_with_the_way_to_make_it(api: Api) -> None:
    with pytest.raises(ConfigurationError, match=r"no Ollama Node block named 'nothing-here'.*save.*http://"):
        OllamaCluster(nodes=["nothing-here"]).to_spec()
    with pytest.raises(
        ConfigurationError, match=r"block named 'nothing-here'.*chat model.*judge:nothing-here"
    ):
        reranker_of("nothing-here")
    with pytest.raises(ConfigurationError, match=r"no Ollama Cluster block named 'nothing-here'"):
        resolve_cluster("nothing-here")
    lost = {"$ref": {"block_document_id": str(uuid.uuid4())}}
    with pytest.raises(ConfigurationError, match=r"no Ollama Node block with id"):
        OllamaCluster(nodes=[lost]).to_spec()


def test_values_that_only_the_block_can_refuse_are_named_when_it_is_loaded(api: Api, name: str) -> None:
    data = {"url": f"http://me:{SECRET}@gpu", "read_timeout": -1, "token": SECRET}
    api.create(OllamaNode, name, data)
    for load in (lambda: OllamaNode.load(name), lambda: OllamaCluster(nodes=[name]).to_spec()):
        with pytest.raises(ConfigurationError) as caught:
            load()
        assert f"block named {name!r}" in str(caught.value)
        assert "field 'url'" in str(caught.value)
        assert "field 'read_timeout'" in str(caught.value)
        assert SECRET not in str(caught.value)
        assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)


def test_a_field_that_this_version_lacks_is_left_out_when_a_block_is_loaded(api: Api, name: str) -> None:
    document = api.create(OllamaNode, name, {"url": "http://gpu:11434", "max_in_flight": 3, "warm_up": True})
    node = OllamaNode.load(name)
    assert (node.url, node.max_in_flight) == ("http://gpu:11434", 3)
    assert not hasattr(node, "warm_up")
    assert OllamaCluster(nodes=[name]).to_spec().nodes[0].max_in_flight == 3
    node.save(name, overwrite=True)
    assert OllamaNode.load(name).max_in_flight == 3
    assert document == str(node._block_document_id)


@pytest.mark.slow
def test_a_server_that_cannot_be_reached_is_said_to_be(api: Api, tmp_path: Path) -> None:
    code = (
        "from prefect_ollama.blocks import OllamaCluster\n"
        "try:\n    OllamaCluster(nodes=['gpu']).to_spec()\n"
        "except Exception as error:\n    print(type(error).__name__, error)"
    )
    settings = {"PREFECT_API_URL": "http://127.0.0.1:9/api", "PREFECT_CLIENT_MAX_RETRIES": "0"}
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        timeout=240,
        check=True,
        env={**os.environ, **settings},
        cwd=tmp_path,
    )
    assert done.stdout.startswith("ConfigurationError"), done.stdout
    assert "PREFECT_API_URL" in done.stdout
    assert "'gpu'" in done.stdout


# Edited in the UI


def test_the_form_says_at_the_field_what_is_wrong(api: Api) -> None:
    assert api.form_errors(OllamaNode, {"url": "gpu-box"}) == {}
    wrong = {"url": "ftp://gpu", "max_in_flight": 0, "verify": "maybe"}
    assert api.form_errors(OllamaNode, wrong).keys() == wrong.keys()
    assert api.form_errors(OllamaNode, {}).keys() == {"url"}
    assert api.form_errors(OllamaCluster, {"nodes": []}).keys() == {"nodes"}
    assert api.form_errors(OllamaCluster, {"nodes": ["gpu", 3]})["nodes"][0]["index"] == 1
    assert api.form_errors(LanceTable, {"uri": "/data", "table": "two words"}).keys() == {"table"}


@pytest.mark.slow
def test_a_cluster_whose_nodes_were_picked_in_the_form(api: Api, node: Node, name: str) -> None:
    node_id = api.create(OllamaNode, name, {"url": node.url, "token": SECRET})
    picked = {"nodes": [{"$ref": {"block_document_id": node_id}}], "model": "nomic-embed-text"}
    assert api.form_errors(OllamaCluster, picked) == {}
    cluster_id = api.create(OllamaCluster, name, picked)
    cluster = OllamaCluster.load(name)
    assert cluster.check().nodes[0].name == name
    cluster.num_ctx = 256
    cluster.save(name, overwrite=True)
    assert api.document(cluster_id)["data"]["nodes"] == picked["nodes"]
    assert SECRET not in json.dumps(api.document(cluster_id, include_secrets=True))


@pytest.mark.parametrize(
    "block",
    [
        OllamaNode(url="http://gpu:11434"),
        OllamaNode(url="http://gpu:11434", token=SECRET),
        OllamaNode(url="http://gpu:11434", username="me", password=SECRET, headers={"X-A": SECRET}),
        OllamaCluster(nodes=["gpu", "http://gpu:11434"]),
        LanceTable(uri="/data"),
        LanceTable(uri="s3://bucket/x", storage_options={"secret_access_key": SECRET}),
    ],
    ids=["plain node", "token", "password", "cluster", "plain table", "table"],
)
@pytest.mark.slow
def test_the_form_can_save_again_what_it_shows(api: Api, block: Block, name: str) -> None:
    kind = type(block)
    document_id = str(kind(**{field: getattr(block, field) for field in kind.model_fields}).save(name))
    shown = api.document(document_id)["data"]
    assert SECRET not in json.dumps(shown)
    assert api.form_errors(kind, shown) == {}
    call(api.http, "PATCH", f"/block_documents/{document_id}", json={"data": shown})
    assert {field: getattr(kind.load(name), field) for field in kind.model_fields} == {
        field: getattr(block, field) for field in kind.model_fields
    }


# Secrets


def test_a_cluster_keeps_no_copy_of_a_node(api: Api, name: str) -> None:
    gpu = OllamaNode(url="http://gpu:11434", token=SECRET)
    with pytest.raises(ConfigurationError, match="not saved as it is here"):
        OllamaCluster(nodes=[gpu]).save(name)
    gpu.save(name)
    document_id = OllamaCluster(nodes=[gpu]).save(name)
    assert api.document(str(document_id), include_secrets=True)["data"]["nodes"] == [name]
    gpu.max_in_flight = 2
    with pytest.raises(ConfigurationError, match="not saved as it is here"):
        OllamaCluster(nodes=[gpu]).save(name, overwrite=True)


@pytest.mark.parametrize("dumps", [pickle.dumps, cloudpickle.dumps])
def test_a_saved_block_is_pickled_without_its_secrets(api: Api, dumps: Any, name: str) -> None:
    OllamaNode(url="http://gpu:11434", token=SECRET).save(name)
    LanceTable(uri="s3://bucket/x", storage_options={"secret_access_key": SECRET}).save(name)
    for block in (OllamaNode.load(name), LanceTable.load(name), OllamaCluster(nodes=[OllamaNode.load(name)])):
        pickled = dumps(block)
        assert SECRET.encode() not in pickled
        again = pickle.loads(pickled)
        assert again == block
        assert again.to_spec() == block.to_spec()
    changed = OllamaNode.load(name)
    changed.max_in_flight = 5
    assert pickle.loads(dumps(changed)).max_in_flight == 5
    copy = OllamaNode.load(name).model_copy(update={"max_in_flight": 6})
    assert pickle.loads(dumps(copy)).max_in_flight == 6
    changed.save(name, overwrite=True)
    assert SECRET.encode() not in dumps(changed)


@pytest.mark.slow
def test_no_secret_shows_after_a_run_that_fails(api: Api, node: Node, name: str) -> None:
    ids = {
        "one": OllamaNode(url=node.url, token=SECRET).save(name),
        "cluster": OllamaCluster(nodes=[name]).save(name),
        "table": LanceTable(uri="/data", storage_options={"secret_access_key": SECRET}).save(name),
    }

    @task(persist_result=True)
    def use(one: OllamaNode, table: LanceTable) -> OllamaNode:
        get_run_logger().info("%s %s %r %s", one, table, one.to_spec(), table.to_spec())
        return one

    @flow(persist_result=True)
    def failing(cluster: OllamaCluster, one: OllamaNode, table: LanceTable) -> None:
        get_run_logger().info("%s %r", cluster, cluster.to_spec())
        use(one, table)
        raise ConfigurationError(f"{cluster} {one.check()} {table!r}")

    # As the UI gives blocks to a run.
    references = {key: {"$ref": {"block_document_id": str(each)}} for key, each in ids.items()}
    state = failing(**references, return_state=True)
    assert state.is_failed()
    assert "OllamaCluster" in str(state.message)
    run = api.post("/flow_runs/filter", {"sort": "START_TIME_DESC", "limit": 1})[0]
    assert run["id"] == str(state.state_details.flow_run_id)
    assert APILogWorker.drain_all(timeout=240)
    said = {
        "run": run,
        "tasks": api.post("/task_runs/filter"),
        "logs": api.post("/logs/filter", {"logs": {"flow_run_id": {"any_": [run["id"]]}}}),
        "events": api.post("/events/filter"),
    }
    assert SECRET not in json.dumps(said)
    assert name in json.dumps(said["logs"])
    stored = [path for path in Path(os.environ["PREFECT_HOME"]).rglob("storage/*") if path.is_file()]
    assert stored
    assert not [path for path in stored if SECRET.encode() in path.read_bytes()]


# The documentation


def test_the_examples_of_the_documentation_work(
    api: Api, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    text = (ROOT / "docs" / "blocks.md").read_text()
    with Node() as plain, Node() as laptop:
        examples = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
        examples += [kind.get_code_example() for kind in (OllamaNode, OllamaCluster, LanceTable)]
        for example in examples:
            code = example.replace("http://gpu-box:11434", plain.url).replace("/data", str(tmp_path))
            for name in re.findall(r'\.save\("([\w-]+)"\)', code):
                code = code.replace(f'.save("{name}")', f'.save("{name}", overwrite=True)')
                code = code.replace("BLOCK_NAME", name)
            code = re.sub(r"^```(python)?$", "", code, flags=re.MULTILINE)
            code = code.replace('"http://laptop:11434"', f'"{laptop.url}"')
            exec(compile(code, "example", "exec"), {})
    said = capsys.readouterr().out
    assert "gpu-box 0.33.0 ready" in said
    assert "NodeStatus(name='gpu-box'" in said
    assert "ClusterCheck(ok=True" in said
    assert "TableCheck(" in said


def test_the_documentation_tells_of_every_field() -> None:
    text = (ROOT / "docs" / "blocks.md").read_text()
    for kind in (OllamaNode, OllamaCluster, LanceTable):
        section = text.split(f"## {kind.get_block_type_name()}\n")[1].split("\n## ")[0]
        assert [name for name in kind.model_fields if f"`{name}`" not in section] == []


def test_a_reference_by_name_is_a_parameter_too(api: Api, name: str) -> None:
    OllamaCluster(nodes=["http://gpu:11434"]).save(name)

    @flow
    def urls(cluster: OllamaCluster) -> list[str]:
        return [each.url for each in cluster.to_spec().nodes]

    found = urls({"$ref": {"block_document_slug": f"ollama-cluster/{name}"}})
    assert found == ["http://gpu:11434"]
