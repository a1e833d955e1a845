"""The tests of real nodes still work: simulated nodes keep the contract that they check."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.nodes import nodes

ROOT = Path(__file__).parent.parent


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_the_tests_of_real_nodes_pass_with_simulated_ones() -> None:
    model = {"models": ["all-minilm"]}
    with nodes(model, model) as made:
        # The complete ingest is tested elsewhere.
        command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-m", "real"]
        command += ["-k", "not table and not question and not answer", "tests/test_real_nodes.py"]
        urls = {"PREFECT_OLLAMA_TEST_NODES": ",".join(node.url for node in made)}
        ended = subprocess.run(
            command, cwd=ROOT, env=os.environ | urls, capture_output=True, text=True, timeout=280, check=False
        )
    assert ended.returncode == 0, ended.stdout[-3000:] + ended.stderr[-3000:]
    assert " passed" in ended.stdout
