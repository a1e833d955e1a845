"""What cannot work is refused before a temporary Prefect server starts, which takes seconds."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from prefect.exceptions import ParameterTypeError

from prefect_ollama.blocks import LanceTable
from prefect_ollama.blocks.errors import ConfigurationError, TableError, TableMissing
from prefect_ollama.blocks.lance import Store, StoreSpec
from prefect_ollama.flows import (
    Advanced,
    Only,
    ask,
    check_nodes,
    discover_nodes,
    forget,
    ingest_pdfs,
    maintain_table,
    re_embed,
    re_embed_cost,
    research,
    roll_back,
    search,
    summarize,
    tune_nodes,
)
from prefect_ollama.flows.base import _flow
from tests.store_samples import IDENTITY, embedded, sentences

ABSENT = "/no/such/database/"
URL = "http://127.0.0.1:9"


class ServerStarted(Exception):
    """A flow went on to start a server."""


@pytest.fixture(autouse=True)
def no_server(monkeypatch: pytest.MonkeyPatch) -> None:
    def start() -> None:
        raise ServerStarted

    monkeypatch.setattr(_flow, "uses_temporary", lambda: True)
    monkeypatch.setattr(_flow, "ensure_server", start)


@pytest.fixture
def place(tmp_path: Path) -> LanceTable:
    store = Store.open(StoreSpec(str(tmp_path / "db"), "documents"), identity=IDENTITY, create=True)
    store.begin_run("first", "papers")
    store.write([embedded("a.pdf", sentences("a", 2))])
    store.end_run()
    return LanceTable(uri=str(tmp_path / "db"))


@pytest.mark.sampled(4)
@pytest.mark.parametrize(
    ("call", "error", "told"),
    [
        (lambda _: ingest_pdfs("/no/such/folder"), ConfigurationError, "'/no/such/folder' is not there"),
        (lambda _: ingest_pdfs("/no/such/*.pdf"), ConfigurationError, "'/no/such' is not there"),
        (lambda _: ingest_pdfs("@/no/such/list"), ConfigurationError, "list of files .* cannot be read"),
        (lambda _: ingest_pdfs(os.curdir, "ftp://x"), ConfigurationError, "must begin with http"),
        (lambda _: ingest_pdfs(os.curdir, table="/proc/x/"), TableError, "cannot be made"),
        (lambda _: search("x", mode="nonsense"), ParameterTypeError, "mode"),
        (lambda _: search("x", table=ABSENT), TableMissing, "no table"),
        (lambda at: search("x", URL, at, reranker="judge"), ConfigurationError, "No chat model .* judge"),
        (lambda _: ask("x", ["http://"], table=ABSENT), ConfigurationError, "http://"),
        (lambda at: ask("x", URL, at, only=Only(documents=["no.pdf"])), ConfigurationError, "no document"),
        (lambda at: research("x", URL, at), ConfigurationError, "No chat model is named"),
        (lambda at: summarize(cluster=[URL], table=at), ConfigurationError, "No chat model is named"),
        (lambda at: research("x", URL, at, file="/no/such/a.md"), ConfigurationError, "cannot be written"),
        (lambda _: check_nodes("ftp://x"), ConfigurationError, "must begin with http"),
        (lambda _: tune_nodes(["ftp://x"]), ConfigurationError, "must begin with http"),
        (lambda _: re_embed(ABSENT), TableMissing, "no table"),
        (lambda _: re_embed_cost(ABSENT), TableMissing, "no table"),
        (lambda _: maintain_table(ABSENT), TableMissing, "no table"),
        (lambda _: forget(["x"], ABSENT), TableMissing, "no table"),
        (lambda _: roll_back("x", ABSENT), TableMissing, "no table"),
        (lambda _: discover_nodes("10.0.0.0/8"), ConfigurationError, "addresses"),
        (lambda _: discover_nodes("home"), ParameterTypeError, "192.168.1.0/24"),
    ],
)
def test_wrong_parameters_start_no_server(
    call: Callable[[Any], object], error: type[Exception], told: str, place: LanceTable
) -> None:
    with pytest.raises(error, match=told):
        call(place)


def test_a_check_opens_the_table_once(place: LanceTable, monkeypatch: pytest.MonkeyPatch) -> None:
    opened, init = [], Store.__init__

    def count(store: Store, spec: StoreSpec) -> None:
        opened.append(spec)
        init(store, spec)

    monkeypatch.setattr(Store, "__init__", count)
    with pytest.raises(ServerStarted):
        search("x", URL, place, reranker="judge:qwen3")
    assert len(opened) == 1


def test_parameters_that_may_work_go_on(place: LanceTable, tmp_path: Path) -> None:
    gone = str(tmp_path / "gone")
    for call in (
        lambda: maintain_table(place),
        lambda: maintain_table("block:of-a-server"),
        lambda: check_nodes("cluster-of-a-server"),
        lambda: research("x", URL, place, chat_model="qwen3"),
        lambda: research("x", URL, place, other_chat_models=["qwen3"]),
        lambda: ingest_pdfs(str(tmp_path), table=tmp_path / "new"),
        # The table decides whether a folder that is gone is meant.
        lambda: ingest_pdfs(gone, table=place, advanced=Advanced(allow_empty=True)),
        # Prefect reports a wrong call with its own state.
        lambda: search("x", mode="nonsense", return_state=True),
    ):
        with pytest.raises(ServerStarted):
            call()
