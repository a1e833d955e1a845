"""Runs that share nodes: which has a slot, which is next, and measured slots are known to all."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from prefect_ollama.tasks.dispatch import _usage as usage
from prefect_ollama.tasks.dispatch._shared_limits import SLOTS, SharedLimits
from tests.nodes import nodes

NODE, MOST = "http://node:11434", 16


def known(folder: Path, slots: int) -> None:
    (folder / SLOTS).write_text(f'{{"{NODE}": {slots}}}')


def fill(one: SharedLimits, most: int = MOST) -> int:
    """Take as many places as there are, and return their number."""
    taken = 0
    while taken < 100 and one.take(NODE, most).taken:
        taken += 1
    return taken


def test_one_that_is_alone_is_held_by_nothing(tmp_path: Path) -> None:
    assert fill(SharedLimits(None)) == fill(SharedLimits(tmp_path / "new")) == 100


@pytest.mark.parametrize("slots", [1, 2, 4])
def test_all_together_have_one_more_than_the_node_serves_at_once(tmp_path: Path, slots: int) -> None:
    known(tmp_path, slots)
    first, second = SharedLimits(tmp_path), SharedLimits(tmp_path)
    for _ in range(slots + 1):
        assert first.take(NODE, MOST).taken
    assert not second.take(NODE, MOST).taken
    held = [slots + 1, 0]
    for _ in range(20):  # the one with an answer asks for the next slot at once, the other at its next poll
        one = int(held[1] > held[0])
        (first, second)[one].release(NODE, None)
        held[one] -= 1
        for each in (one, 1 - one):
            held[each] += (first, second)[each].take(NODE, MOST).taken
        assert sum(held) <= slots + 1
    assert abs(held[0] - held[1]) <= 1


def test_each_of_many_has_one(tmp_path: Path) -> None:
    known(tmp_path, 1)
    all_of_them = [SharedLimits(tmp_path) for _ in range(5)]
    for _ in range(2):
        for each in all_of_them:
            each.take(NODE, MOST)
    assert [each._mine[NODE].held for each in all_of_them] == [1] * 5


def test_the_nodes_own_limit_is_for_all_together(tmp_path: Path) -> None:
    known(tmp_path, 4)
    first, second = SharedLimits(tmp_path), SharedLimits(tmp_path)
    assert first.take(NODE, 2).taken
    assert fill(second, 2) == 1


def test_one_alone_finds_out_and_tells_the_others(tmp_path: Path) -> None:
    first, second = SharedLimits(tmp_path), SharedLimits(tmp_path)
    for _ in range(4):
        assert first.take(NODE, MOST).taken
    assert not second.take(NODE, MOST).taken
    for _ in range(3):
        first.release(NODE, None)
    assert not second.take(NODE, MOST).taken
    first.release(NODE, 2)
    place = second.take(NODE, MOST)
    assert (place.taken, place.slots) == (True, 2)
    assert SharedLimits(tmp_path).slots(NODE) == 2


def test_who_has_nothing_to_send_stands_in_nobodys_way(tmp_path: Path) -> None:
    known(tmp_path, 1)
    first, second = SharedLimits(tmp_path), SharedLimits(tmp_path)
    assert fill(first, 2) == 100  # alone
    assert not second.take(NODE, MOST).taken
    for _ in range(99):
        first.release(NODE, None)
    assert not first.take(NODE, MOST).taken, "it is the other's turn"
    second.ask_only(())
    assert first.take(NODE, MOST).taken


def test_a_stopped_one_delays_others_and_no_more(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    known(tmp_path, 1)
    first, second = SharedLimits(tmp_path), SharedLimits(tmp_path)
    fill(first)
    assert not second.take(NODE, MOST).taken
    monkeypatch.setattr(usage, "SLOT_TIMEOUT_S", -1.0)
    assert second.take(NODE, MOST).taken


HOLD = """
import sys; from pathlib import Path; from prefect_ollama.tasks.dispatch._shared_limits import SharedLimits
one = SharedLimits(Path(sys.argv[1])); one.take(sys.argv[2], 16); one.take(sys.argv[2], 16)
print("there", flush=True); sys.stdin.read()
"""


def test_a_killed_one_is_gone(tmp_path: Path) -> None:
    known(tmp_path, 1)
    one = SharedLimits(tmp_path)
    command = [sys.executable, "-c", HOLD, tmp_path, NODE]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == b"there\n"
        assert one.others(NODE) == 2
        assert not one.take(NODE, MOST).taken
        os.kill(other.pid, signal.SIGKILL)
    assert one.others(NODE) == 0
    assert one.take(NODE, MOST).taken
    assert len(list(tmp_path.glob("*.user"))) == 1
    one.close()
    assert not list(tmp_path.glob("*.user"))


@pytest.mark.parametrize("broken", ["a file", "words"])
def test_a_folder_that_is_of_no_use_is_done_without(tmp_path: Path, broken: str) -> None:
    if broken == "a file":
        (tmp_path / "place").write_text("")
        assert fill(SharedLimits(tmp_path / "place")) == 100
        return
    (tmp_path / SLOTS).write_text("{")
    (tmp_path / "0.user").write_text("[")
    one = SharedLimits(tmp_path)
    assert one.slots(NODE) is None
    assert fill(one) == 100


@pytest.mark.slow  # four processes start, and the nodes are slow enough to see both at work
def test_two_processes_ask_no_more_of_nodes_than_one(tmp_path: Path) -> None:
    slots = (1, 2)
    command = [sys.executable, "-m", "tests.dispatch.run", tmp_path / "meeting"]
    with nodes(*({"texts_per_second": 20 * each, "slots": each, "pool": 64} for each in slots)) as made:
        urls = [node.url for node in made]

        def both(count: int) -> list[int]:
            """Embed with two processes at once; most requests in flight at each node."""
            started = [
                subprocess.Popen(
                    [*command, name, str(count), *urls], stdin=subprocess.PIPE, stdout=subprocess.PIPE
                )
                for name in (f"{count} first", f"{count} second")
            ]
            for run in started:
                assert run.stdout is not None
                assert run.stdout.readline() == b"ready\n"
            for node in made:
                node.reset()
            for run in started:
                assert run.stdin is not None
                run.stdin.write(b"\n")
                run.stdin.flush()
            for run in started:
                run.communicate(timeout=240)
            assert [run.returncode for run in started] == [0, 0]
            return [node.stats()["max_in_flight"] for node in made]

        # To find out how many each serves takes four, of one of the two. A request of a few words, which checks what a
        # node gave, takes no place: it may come on top, one of each run.
        first, then = both(60), both(150)
        assert max(first) <= 4 + 2, first
        assert all(most <= slot + 1 + 2 for most, slot in zip(then, slots, strict=True)), then
