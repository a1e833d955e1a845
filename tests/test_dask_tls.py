"""Dask's settings for TLS that do not fit the address of a scheduler: the error says so, and what to set."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from typing import Any

import dask.config
import distributed
import pytest

from prefect_ollama.blocks.errors import ConfigurationError
from prefect_ollama.flows.runner._external_cluster import connecting_to

FILES = ("ca-file", "client.cert", "client.key")


@pytest.fixture(autouse=True)
def no_open_client_is_left() -> Iterator[None]:
    """A client that is collected while the next one starts blocks that start: both need one lock."""
    gc.collect()
    gc.disable()
    try:
        yield
        clients = [each for each in gc.get_objects() if type(each) is distributed.Client]
        assert "connecting" not in {each.status for each in clients}
    finally:
        gc.enable()


@pytest.mark.parametrize(
    ("address", "settings"),
    [
        pytest.param(
            "tls://127.0.0.1:1",
            # Said, because an earlier run of this process may have set its own.
            {f"distributed.comm.tls.{name}": None for name in FILES},
            id="no files are named",
        ),
        pytest.param(
            "tls://127.0.0.1:1",
            {f"distributed.comm.tls.{name}": "/nowhere" for name in FILES},
            id="files are missing",
        ),
        pytest.param(
            "tcp://127.0.0.1:1", {"distributed.comm.require-encryption": True}, id="TLS is required"
        ),
    ],
)
@pytest.mark.sampled(1)
def test_settings_that_do_not_fit_are_named(address: str, settings: dict[str, Any]) -> None:
    with (
        dask.config.set(settings),
        pytest.raises(ConfigurationError, match=f"TLS .*{address}.*Nothing was started") as raised,
        connecting_to(address),
    ):
        # It does not wait: nobody is asked with settings that do not fit.
        distributed.Client(address, timeout="240s")
    assert "docs/security.md" in raised.value.remedy


def test_a_scheduler_that_does_not_answer_is_named() -> None:
    with (
        pytest.raises(ConfigurationError, match=r"No Dask scheduler answers at .*Nothing was started"),
        connecting_to("tcp://127.0.0.1:1"),
    ):
        distributed.Client("tcp://127.0.0.1:1", timeout="100ms")
