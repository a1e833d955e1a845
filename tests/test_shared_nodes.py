"""Two runs at once over the same nodes: together they send no more requests than one run would."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import orjson
import pytest

from tests.flow_samples import assert_right, chunks, write_folder
from tests.nodes import nodes

SLOTS = (1, 2)


@pytest.mark.slow  # two flows with their Dask processes start, and the nodes are slow enough to see both at work
def test_two_runs_at_once_do_not_flood_a_node(prefect_server: str, tmp_path: Path) -> None:
    with nodes(*({"texts_per_second": 30 * slots, "slots": slots} for slots in SLOTS)) as running:
        runs = []
        for name in ("first", "second"):
            source = write_folder(tmp_path / name, [f"{name} {number}" for number in range(60)])
            command = [sys.executable, "-m", "tests.flow_process", source, tmp_path / f"{name}-table", "-"]
            runs.append(
                subprocess.Popen(
                    [*command, *(node.url for node in running)],
                    env=os.environ | {"PREFECT_HOME": str(tmp_path / "home")},
                    stdout=subprocess.PIPE,
                )
            )
        reports = [orjson.loads(run.communicate(timeout=540)[0]) for run in runs]
        assert [report["outcomes"] for report in reports] == [{"stored": 60}] * 2
        for name in ("first", "second"):
            assert_right(chunks(tmp_path / f"{name}-table"))
        both = [node.stats() for node in running]
    # One of them sends four requests to find out how many a node serves. The other may be proving the node just then,
    # with two of a few words, and each of them may send a check that takes no place.
    assert all(2 <= stats["max_in_flight"] <= 4 + 2 + 2 for stats in both), both
    known = orjson.loads((tmp_path / "home" / "ollama-nodes" / "slots.json").read_bytes())
    assert known.keys() == {node.url for node in running}
    assert [stats["max_in_service"] for stats in both] == list(SLOTS)
