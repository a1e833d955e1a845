"""The form that Prefect's UI makes of each flow's parameters, and the values that a flow gets from it."""

from __future__ import annotations

import dataclasses
import json
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from prefect.blocks.system import Secret
from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import FlowRun
from prefect.exceptions import ParameterTypeError, PrefectHTTPStatusError
from prefect.flow_engine import run_flow
from prefect.flows import Flow
from prefect.utilities.callables import parameter_schema, parameter_schema_from_entrypoint
from prefect.utilities.schema_tools.validation import is_valid_schema, validate
from pydantic import ValidationError

import prefect_ollama.flows
from prefect_ollama.blocks import LanceTable, OllamaCluster, OllamaNode
from prefect_ollama.blocks.errors import ConfigurationError
from prefect_ollama.flows import Advanced, Chunking, Password, Reading, check_nodes, ingest_pdfs
from prefect_ollama.flows.parameters import display_name
from prefect_ollama.tasks.parsing import ParseOptions
from tests.nodes import Node

FLOWS: dict[str, Flow[Any, Any]] = {
    name: each
    for name in prefect_ollama.flows.__all__
    if isinstance(each := getattr(prefect_ollama.flows, name), Flow)
}
PICKED = {"OllamaCluster": "ollama-cluster", "OllamaNode": "ollama-node", "LanceTable": "lance-table"}


def form(flow: Flow[Any, Any]) -> dict[str, Any]:
    """What the UI makes the form from."""
    return parameter_schema(flow.fn).model_dump()


def whole(field: dict[str, Any], schema: dict[str, Any]) -> dict[str, Any]:
    """A field with what it refers to, as the UI puts them together."""
    if "$ref" not in field:
        return field
    return schema["definitions"][field["$ref"].rpartition("/")[2]] | field


def fields(schema: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Every field that the form shows, those of groups too. A block is picked, its fields are not shown."""
    for name, raw in schema["properties"].items():
        yield from _shown(name, whole(raw, schema), schema)


def _shown(name: str, field: dict[str, Any], schema: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    yield name, field
    if "block_type_slug" in field:
        return
    for inner, raw in field.get("properties", {}).items():
        yield from _shown(f"{name}.{inner}", whole(raw, schema), schema)
    if isinstance(items := field.get("items"), dict) and "properties" in (each := whole(items, schema)):
        for inner, raw in each["properties"].items():
            yield from _shown(f"{name}[].{inner}", whole(raw, schema), schema)


def tabs(field: dict[str, Any]) -> Iterator[list[dict[str, Any]]]:
    """Each choice between types that a field or its items offer."""
    if "anyOf" in field:
        yield field["anyOf"]
        for each in field["anyOf"]:
            yield from tabs(each)
    if isinstance(field.get("items"), dict):
        yield from tabs(field["items"])


@pytest.mark.parametrize("name", FLOWS)
def test_every_field_has_a_title_help_and_a_place(name: str) -> None:
    schema = form(FLOWS[name])
    assert FLOWS[name].description
    for path, field in fields(schema):
        own = path.rpartition(".")[2]
        assert field["title"] != own, path
        assert field["title"][0].isupper(), path
        assert field["description"].endswith("."), path
    for name in ("cluster", "table", "model", "source"):
        assert schema["properties"].get(name, {"title": name})["title"].lower() == name
    places = [field["position"] for field in schema["properties"].values()]
    assert places == list(range(len(places)))
    required = [each["position"] for key, each in schema["properties"].items() if key in schema["required"]]
    assert required == list(range(len(required))), "what must be filled in stands first"


@pytest.mark.parametrize("name", FLOWS)
def test_a_choice_of_types_has_a_titled_tab_for_each_and_blocks_are_picked(name: str) -> None:
    schema = form(FLOWS[name])
    for path, field in fields(schema):
        for choice in tabs(field):
            titles = [whole(each, schema)["title"] for each in choice]
            assert len(set(titles)) == len(titles), path
            assert not set(titles) & set(PICKED), path
            pickers = [each for each in choice if "block_type_slug" in whole(each, schema)]
            # The UI finds the tab of a block that was picked by its being an object, so there is one at most.
            assert len(pickers) <= 1, path
    for kind, slug in PICKED.items():
        if kind in schema["definitions"]:
            assert schema["definitions"][kind]["block_type_slug"] == slug
            # The server finds the block's definition by its title when it takes a reference for one.
            assert schema["definitions"][kind]["title"] == kind


@pytest.mark.sampled(5)
@pytest.mark.parametrize("name", FLOWS)
def test_the_form_can_be_sent_as_it_opens(name: str) -> None:
    schema = form(FLOWS[name])
    is_valid_schema(schema)
    opened = {
        key: field["default"]
        for key, field in schema["properties"].items()
        if field.get("default", ...) is not ...
    }
    assert validate(opened, schema, ignore_required=True) == []
    assert opened.keys() | set(schema["required"]) == schema["properties"].keys()


@pytest.mark.sampled(4)
@pytest.mark.parametrize("name", FLOWS)
def test_a_deployment_by_entrypoint_has_the_same_form(name: str) -> None:
    flow = FLOWS[name]
    entrypoint = f"{flow.fn.__module__}.{flow.fn.__name__}"
    assert parameter_schema_from_entrypoint(entrypoint).model_dump() == form(flow)


def test_choices_are_lists() -> None:
    search = form(FLOWS["search"])["properties"]["mode"]
    assert search["enum"] == ["vector", "text", "hybrid"]
    reading = form(ingest_pdfs)["definitions"]["Reading"]["properties"]
    assert reading["ocr"]["enum"] == ["auto", "off"]


@pytest.mark.parametrize(
    ("name", "values", "words"),
    [
        ("search", {"question": ""}, "at least 1 character"),
        ("search", {"question": "x", "limit": 0}, "greater than or equal to 1"),
        ("search", {"question": "x", "mode": "guess"}, "'vector', 'text' or 'hybrid'"),
        ("ingest_pdfs", {"source": []}, "at least 1 item"),
        ("ingest_pdfs", {"source": "x", "chunking": {"target_tokens": 300}}, "must be in ascending order"),
        ("ingest_pdfs", {"source": "x", "chunking": {"size": 300}}, "Unexpected keyword"),
        ("ingest_pdfs", {"source": "x", "reading": {"ocr_languages": ["../x"]}}, "Tesseract's names"),
        ("ingest_pdfs", {"source": "x", "cluster": []}, "at least 1 item"),
        ("maintain_table", {"keep_days": -1}, "greater than or equal to 0"),
        ("maintain_table", {"keep_days": 1e300}, "less than or equal to 36500"),
        ("roll_back", {"run_id": ""}, "at least 1 character"),
    ],
)
def test_wrong_values_are_refused_before_anything_starts(
    name: str, values: dict[str, Any], words: str
) -> None:
    with pytest.raises(ParameterTypeError, match=words):
        FLOWS[name].validate_parameters(values)


def test_the_form_has_every_option_of_the_parser() -> None:
    names = [each.name for each in dataclasses.fields(ParseOptions)]
    assert list(form(ingest_pdfs)["definitions"]["Reading"]["properties"]) == names
    values = {"max_pages": 3, "output_mb": 2, "ocr_max_pages": 0, "ocr_seconds": 1.5, "tables": False}
    values |= {"tessdata": "/data", "memory_mb": 9, "cpu_seconds": 8, "wall_seconds": 7, "ocr_dpi": 99}
    options = Reading(**values).to_options()
    assert {name: getattr(options, name) for name in values} == values
    assert Reading().to_options() == ParseOptions()


def test_groups_are_refused_where_they_are_made() -> None:
    with pytest.raises(ValidationError, match="must be in ascending order"):
        Chunking(overlap_tokens=200)
    with pytest.raises(ValidationError, match="Tesseract's names"):
        Reading(ocr_languages=[])
    assert Advanced() == Advanced(
        remove_missing=True, allow_empty=False, pull=False, fail_if_files_fail=False, use_cache=True
    )


# Through the API, as the UI does


class Deployed:
    """A deployment of a flow on the server, whose runs are created as the UI creates them."""

    def __init__(self, flow: Flow[Any, Any]) -> None:
        self.flow = flow
        with get_client(sync_client=True) as client:
            self.id = client.create_deployment(
                client.create_flow(flow),
                f"form-{uuid.uuid4().hex[:8]}",
                parameter_openapi_schema=parameter_schema(flow.fn).model_dump_for_openapi(),
                enforce_parameter_schema=True,
            )

    def create(self, parameters: dict[str, Any]) -> FlowRun:
        """A run with these values; they are sent as they are."""
        with get_client(sync_client=True) as client:
            return client.create_flow_run_from_deployment(self.id, parameters=parameters)

    def run(self, parameters: dict[str, Any]) -> Any:
        """Create a run and run it here, as a worker's process would."""
        return run_flow(self.flow, flow_run=self.create(parameters))


@pytest.fixture(scope="module")
def ingest(prefect_server: str) -> Deployed:
    return Deployed(ingest_pdfs)


@pytest.fixture(scope="module")
def node() -> Iterator[Node]:
    with Node(dimension=16) as started:
        yield started


def reference(document_id: Any) -> dict[str, Any]:
    """What the UI sends for a block that was picked."""
    return {"$ref": {"block_document_id": str(document_id)}}


@pytest.mark.slow
def test_blocks_that_were_picked_reach_the_flow(prefect_server: str, node: Node) -> None:
    name = f"picked-{uuid.uuid4().hex[:8]}"
    node_id = OllamaNode(url=node.url).save(name)
    cluster_id = OllamaCluster(nodes=[name]).save(name)
    deployed = Deployed(check_nodes)
    for cluster in (reference(cluster_id), [reference(node_id)]):
        (row,) = deployed.run({"cluster": cluster, "model": None})
        assert (row.name, row.ok) == (name, True)


def test_a_table_that_was_picked_reaches_the_flow(ingest: Deployed, tmp_path: Path) -> None:
    table_id = LanceTable(uri=str(tmp_path), table="papers").save(f"picked-{uuid.uuid4().hex[:8]}")
    (tmp_path / "pdfs").mkdir()
    report = ingest.run(
        {"source": str(tmp_path / "pdfs"), "table": reference(table_id), "cluster": None, "dry_run": True}
    )
    assert report.table == f"{tmp_path}/papers"


@pytest.mark.parametrize(
    "parameters",
    [
        {},
        {"source": []},
        {"source": "x", "cluster": 3},
        {"source": "x", "dry_run": "perhaps"},
        {"source": "x", "reading": {"ocr": "always"}},
        {"source": "x", "chunking": {"target_tokens": 1}},
    ],
    ids=str,
)
def test_the_server_refuses_what_the_form_does_not_allow(
    ingest: Deployed, parameters: dict[str, Any]
) -> None:
    with pytest.raises(PrefectHTTPStatusError, match="Validation failed") as caught:
        ingest.create(parameters)
    assert caught.value.response.status_code == 409


@pytest.mark.sampled(2)
@pytest.mark.parametrize(
    ("name", "sent", "titles"),
    [
        ("ingest_pdfs", {"source": "x"}, "'Cluster'"),
        ("search", {"question": "x"}, "'Table' and 'Model'"),
        ("check_nodes", {"model": None}, "'Cluster'"),
        ("tune_nodes", {}, "'Cluster'"),
        ("re_embed", {}, "'Table'"),
        ("maintain_table", {}, "'Table'"),
        ("roll_back", {"run_id": "x"}, "'Table'"),
    ],
)
def test_a_tab_that_was_left_empty_is_refused(
    prefect_server: str, name: str, sent: dict[str, Any], titles: str
) -> None:
    """The form sends every field but the one whose tab was chosen and left empty."""
    flow = FLOWS[name]
    opened = {key: field.get("default") for key, field in form(flow)["properties"].items()}
    left = {title.strip("'").lower() for title in titles.split(" and ")}
    deployed = Deployed(flow)
    with pytest.raises(ConfigurationError, match=f"{titles}.*Nothing was started.*the last tab"):
        deployed.run({key: value for key, value in {**opened, **sent}.items() if key not in left})


@pytest.mark.parametrize("sent", [{}, {"cluster": None}, {"chunking": {}, "reading": {}}], ids=str)
@pytest.mark.sampled(1)
def test_what_a_program_leaves_out_is_the_default(
    ingest: Deployed, tmp_path: Path, sent: dict[str, Any]
) -> None:
    (tmp_path / "pdfs").mkdir()
    assert ingest.run({"source": str(tmp_path / "pdfs"), "dry_run": True, **sent}).files == ()


def test_a_password_can_come_from_a_secret_block(ingest: Deployed) -> None:
    secret = "0123456789"  # nothing but digits, which Prefect's own way to read it makes a number of
    secret_id = Secret[str](value=secret).save(f"secret-{uuid.uuid4().hex[:8]}")
    sent = {"source": "x", "reading": {"passwords": [{"password": reference(secret_id)}]}}
    assert secret not in ingest.create(sent).model_dump_json()
    reading = ingest_pdfs.validate_parameters(sent)["reading"]
    ((pattern, password),) = reading.to_options().passwords
    assert (pattern, password.get_secret_value()) == ("*", secret)
    assert secret not in json.dumps(ingest_pdfs.serialize_parameters({"reading": reading}))
    assert Password(password=secret).password.get_secret_value() == secret


@pytest.mark.parametrize(
    ("cluster", "words"),
    [
        (None, "this host"),
        ("home", "home"),
        (["http://a"], "http://a"),
        ([OllamaNode(url="http://a")], "1 node"),
        (["a", "b"], "2 nodes"),
        (OllamaCluster(nodes=["a", "b"]), "2 nodes"),
        ({"nodes": ["a"], "model": "x"}, "1 node"),
        ({"$ref": {"block_document_id": "x"}}, "a cluster"),
    ],
    ids=str,
)
def test_a_run_is_named_after_its_nodes(cluster: Any, words: str) -> None:
    assert display_name(cluster) == words
