"""The dispatcher's machinery depends on no kind of request."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from prefect_ollama.tasks import dispatch

FOLDER = Path(dispatch.__file__).parent
NEUTRAL = ("breaker", "choice", "engine", "figures", "health", "job", "lane", "neighbours", "pace", "queue")
OF_A_KIND = ("embedding", "embedding_kind", "errands", "evidence", "long_words")


@pytest.mark.parametrize("module", [*NEUTRAL, "request_kind", "sizing", "verdict"])
def test_machinery_depends_on_no_kind_of_request(module: str) -> None:
    tree = ast.parse((FOLDER / f"{module}.py").read_text(encoding="utf-8"))
    used = {node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)} | {
        name.name for node in ast.walk(tree) if isinstance(node, ast.Import) for name in node.names
    }
    kinds = {f"{dispatch.__name__}.{each}" for each in OF_A_KIND}
    answers = {"numpy", "prefect_ollama.blocks.wire.answer", "prefect_ollama.blocks.wire.canaries"}
    assert not used & (kinds | answers)
