"""Errors cross processes and versions: a pickle names the public package, and keeps all attributes."""

import pickle
import pickletools

import pytest

from prefect_ollama.blocks import errors
from prefect_ollama.blocks.errors import NodeBusy, PrefectOllamaError

# As a version wrote it in which the errors were one module (`pickle.dumps(…, 0)`).
STORED = (
    b"cprefect_ollama.blocks.errors\n_restore\n(cprefect_ollama.blocks.errors\nNodeBusy\n"
    b"(VNode 'gpu-box': is busy (503).\np0\nt(dVcause\ng0\nsVstate\nV\np1\nsVremedy\ng1\nsVnode\nVgpu-box\n"
    b"sVstatus\nI503\nsVretry_after\nF5.0\nstR."
)


def test_an_error_that_an_earlier_version_pickled_can_be_read() -> None:
    error = pickle.loads(STORED)
    assert type(error) is NodeBusy
    assert str(error) == "Node 'gpu-box': is busy (503)."
    assert (error.node, error.status, error.retry_after) == ("gpu-box", 503, 5.0)


@pytest.mark.parametrize("name", errors.__all__)
def test_pickles_name_public_modules_only(name: str) -> None:
    kind = getattr(errors, name)
    assert issubclass(kind, PrefectOllamaError)
    assert kind.__module__ == "prefect_ollama.blocks.errors"
    error = kind.__new__(kind, "x")
    modules = {
        str(argument).split(" ")[0]
        for code, argument, _ in pickletools.genops(pickle.dumps(error, 0))
        if code.name == "GLOBAL"
    }
    assert {each for each in modules if each.startswith("prefect_ollama")} == {kind.__module__}
    assert pickle.loads(pickle.dumps(error)).args == ("x",)
