"""Processes that ask chat models of the same node at the same time keep its limit together."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.nodes import nodes


@pytest.mark.slow  # two processes start
def test_two_processes_share_the_limit_of_a_node_for_chat(tmp_path: Path) -> None:
    with nodes({"chat_models": ["qwen3"], "chat_slots": 1, "answer_tokens_per_second": 400}) as (node,):

        def both(count: int) -> int:
            """Ask with two processes at once; most requests in flight at the node."""
            started = [
                subprocess.Popen(
                    [sys.executable, "-m", "tests.answering_process", name, str(count), node.url],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    env={**os.environ, "PREFECT_HOME": str(tmp_path)},
                )
                for name in (f"{count} first", f"{count} second")
            ]
            for process in started:
                assert process.stdout is not None
                assert process.stdout.readline() == b"ready\n"
            node.reset()
            for process in started:
                assert process.stdin is not None
                process.stdin.write(b"\n")
                process.stdin.flush()
            for process in started:
                process.communicate(timeout=240)
            assert [process.returncode for process in started] == [0, 0]
            stats = node.stats()
            assert stats["chat_answered"] == 2 * count
            return int(stats["max_chat_in_flight"])

        # To find out how many the node serves takes four requests of one, and the other may have one then.
        # Without common limits there are eight to ten.
        assert both(40) <= 5
        assert both(30) <= 5
