"""Monitoring: the state of nodes, timeline, outages, progress and texts from the statistics that processes publish."""

from __future__ import annotations

import threading
from dataclasses import asdict, replace
from typing import Any
from xml.etree import ElementTree

import orjson
import pytest

from prefect_ollama.blocks.nodes.endpoint import LoadedModel
from prefect_ollama.blocks.nodes.spec import ClusterSpec, ModelSpec, NodeSpec
from prefect_ollama.blocks.nodes.status import NodeStatus
from prefect_ollama.tasks.dispatch import NodeStats
from prefect_ollama.tasks.monitoring import (
    ProgressState,
    Snapshot,
    Timeline,
    efficiency,
    observed_by,
    process_name,
)
from prefect_ollama.tasks.monitoring.model_memory import ModelMemory
from prefect_ollama.tasks.monitoring.node_stats import LiveNodes
from prefect_ollama.tasks.monitoring.outages import Outages
from prefect_ollama.tasks.monitoring.progress import Progress
from prefect_ollama.tasks.monitoring.snapshot import observer
from prefect_ollama.tasks.monitoring.stats_topic import publishing
from prefect_ollama.tasks.monitoring.timeline import MAX_COLUMNS
from prefect_ollama.tasks.monitoring.wording import (
    how_far,
    how_fast,
    log_line,
    nodes_section,
    progress_text,
)
from prefect_ollama.tasks.reporting import RunStatistics, section_markdown
from prefect_ollama.tasks.reporting.timeline_chart import draw_timeline
from tests.nodes import nodes
from tests.waiting import until

GIB = 2**30


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def stats(name: str, texts: int = 0, **changes: Any) -> NodeStats:
    made = NodeStats(
        name,
        state="closed",
        texts=texts,
        requests=texts // 10,
        hedged=0,
        wasted=0,
        in_flight=2,
        busy_seconds=texts / 50,
        p50=0.5,
        p95=1.0,
    )
    return replace(made, **changes)


def message(process: str, at: float, *nodes: NodeStats) -> dict[str, Any]:
    """A message as it arrives, after its way through Dask."""
    sent = {"process": process, "at": at, "nodes": [asdict(node) for node in nodes]}
    return orjson.loads(orjson.dumps(sent))  # type: ignore[no-any-return]


def test_nodes_are_added_up_over_processes_whose_clocks_differ() -> None:
    clock = Clock()
    live = LiveNodes(["a", "b", "never"], clock)
    for second in range(1, 21):
        clock.now += 1
        live.take(message("one", clock.now - 900, stats("a", 20 * second), stats("b", 5 * second)))
        live.take(message("two", clock.now + 5e6, stats("a", 20 * second)))
    a, b, never = live.nodes()
    assert (a.texts, b.texts) == (800, 100)
    assert (a.share, b.share) == (pytest.approx(8 / 9), pytest.approx(1 / 9))
    assert (a.in_flight, b.in_flight) == (4, 2)
    assert a.now == pytest.approx(40)
    assert b.now == pytest.approx(5)
    assert (a.activity, a.state, a.p50, a.p95) == ("works", "closed", 0.5, 1.0)
    assert (never.activity, never.state, never.texts) == ("unknown", "", 0)
    assert live.timeline.nodes == ["a", "b"]
    assert live.timeline.total("a") == pytest.approx(800)


def test_messages_count_once_in_any_order_and_others_are_not_ours() -> None:
    clock = Clock()
    live = LiveNodes(["a"], clock)
    clock.now += 10
    live.take(message("one", 10.0, stats("a", 300)))
    live.take(message("one", 10.0, stats("a", 300)))
    live.take(message("one", 9.5, stats("a", 280)))
    live.take({"action": "remove-client", "client": "Client-1"})
    live.take({"process": "one", "at": 11.0, "nodes": [{"name": "a"}]})
    live.take("anything")
    live.take(message("one", 12.0, stats("stranger", 5)))
    newer = message("one", 13.0, stats("a", 310))
    newer["nodes"][0]["invented later"] = 1
    live.take(newer)
    assert [node.texts for node in live.nodes()] == [310]
    assert live.timeline.total("a") == pytest.approx(310)


def test_texts_that_count_for_another_node_later_count_once() -> None:
    """As when a discarded answer is embedded again, or that of a hedge was confirmed before the first one."""
    clock = Clock()
    live = LiveNodes(["a", "b"], clock)
    for at, of_a, of_b in ((1.0, 100, 40), (2.0, 70, 70), (3.0, 90, 80)):
        clock.now = at
        live.take(message("one", at, stats("a", of_a), stats("b", of_b)))
    assert [node.texts for node in live.nodes()] == [90, 80]
    assert [round(live.timeline.total(name)) for name in ("a", "b")] == [90, 80]
    assert min(live.timeline.rates("a")) >= 0


def test_a_message_that_was_late_moves_nothing_in_time() -> None:
    clock = Clock()
    live = LiveNodes(["a"], clock)
    for half in range(1, 41):
        clock.now += 0.5
        if half % 10:  # each tenth comes with the next one
            for at in (half - 1, half) if half % 10 == 1 else (half,):
                live.take(message("one", at / 2, stats("a", 10 * at)))
    live.nodes()
    rates = live.timeline.rates("a")
    assert min(rates[2:-1]) == pytest.approx(20)
    assert max(rates[2:-1]) == pytest.approx(20)


def test_a_process_gone_silent_has_nothing_in_flight_and_keeps_its_tally() -> None:
    clock = Clock()
    live = LiveNodes(["a"], clock)
    clock.now += 1
    live.take(
        message("killed", 1.0, stats("a", 100, state="open", errors={"it broke": 2}, last_error="it broke"))
    )
    live.take(message("alive", 1.0, stats("a", 50)))
    assert live.nodes()[0].state == "closed", "one of two reaches it"
    for _ in range(30):
        clock.now += 1
        live.take(message("alive", clock.now - 1000, stats("a", 60, in_flight=1)))
    (node,) = live.nodes()
    assert (node.texts, node.in_flight, node.errors, node.last_error) == (160, 1, {"it broke": 2}, "it broke")
    clock.now += 30
    (node,) = live.nodes()
    assert (node.texts, node.in_flight, node.now, node.activity) == (160, 0, 0.0, "idle")


def test_the_timeline_stays_small_and_loses_no_text() -> None:
    timeline = Timeline()
    for second in range(100_000):
        timeline.add("a", second, second + 1, 3)
        if second % 2:
            timeline.add("b", second - 1.5, second + 1, 1)
    timeline.note_trouble("b", 50_000, 60_000)
    assert len(timeline.rates("a")) <= MAX_COLUMNS
    assert timeline.total("a") == pytest.approx(300_000)
    assert timeline.total("b") == pytest.approx(50_000)
    assert timeline.rates("a") == pytest.approx([3.0] * len(timeline.rates("a")))
    ((begin, end),) = timeline.trouble("b")
    assert begin == pytest.approx(50_000, abs=timeline.width)
    assert end == pytest.approx(60_000, abs=timeline.width)
    assert (timeline.nodes, timeline.troubled) == (["a", "b"], ["b"])


def test_short_trouble_is_no_outage_and_a_flapping_node_is_told_of_ever_less() -> None:
    outages = Outages(["left out"])
    changes = []
    for half in range(2 * 3600):
        now = half / 2
        failing = {
            "quick": now % 9 < 4,
            "slow": now % 30 < 4,
            "hiccups": now % 3 < 1,
            "left out": now < 100,
            "well": False,
        }
        for name, fails in failing.items():
            if change := outages.see(name, fails=fails, now=now):
                changes.append((now, name, change == "down"))
    assert [(now, down) for now, name, down in changes if name == "left out"] == [(105.0, False)]
    assert [(now, down) for now, name, down in changes if name == "quick"] == [(2.0, True)]
    assert [(now, down) for now, name, down in changes if name == "slow"] == [
        *[(2.0, True), (9.0, False)],
        *[(32.0, True), (44.0, False)],
        *[(62.0, True), (84.0, False)],
        (92.0, True),
    ]
    assert {name for _, name, _ in changes} == {"left out", "quick", "slow"}
    waiting = Outages()
    silent = [waiting.see("a", fails=second < 29, silent=True, now=second) for second in range(60)]
    assert not any(silent), "a node that is only silent may wait for a core"
    assert waiting.see("a", fails=True, silent=True, now=100) is None
    assert waiting.see("a", fails=True, silent=True, now=131) == "down"
    assert outages.down == {"quick", "slow"}
    assert outages.see("slow", fails=False, now=3600, ended=True) == "back"
    assert outages.see("quick", fails=True, now=3600, ended=True) is None
    assert outages.down == {"quick"}


def test_progress_moves_before_the_first_bundle_is_back_and_never_goes_back() -> None:
    done = (0, RunStatistics())
    progress = Progress(10, 200_000, lambda: done)
    seen = [progress.look(0, 0)]
    assert (seen[0].part, seen[0].left) == (0.0, None)
    for second in range(1, 101):
        if second % 10 == 0:  # a document of 20 kB and 40 chunks, as the first guess has it nearly
            count = second // 10
            done = (count, RunStatistics(size=20_000 * count, chunks=40 * count, embedded=40 * count))
        seen.append(progress.look(second, 4 * second))
    parts = [each.part for each in seen]
    assert parts == sorted(parts)
    assert 0.02 < parts[5] < 0.1
    assert parts[50] == pytest.approx(0.5, abs=0.02)
    assert seen[50].left == pytest.approx(50, abs=5)
    assert seen[50].documents, seen[50].size == (5, 100_000)
    assert (parts[-1], seen[-1].left, seen[-1].documents) == (1.0, 0.0, 10)
    assert all(part < 1 for part in parts[:-1])


def test_time_left_follows_the_rate_of_the_last_minute() -> None:
    done = (0, RunStatistics())
    progress = Progress(1000, 1_000_000, lambda: done)
    for second in range(200):
        count = min(second, 100) * 5 + max(second - 100, 0)
        done = (count, RunStatistics(size=1000 * count, chunks=2 * count, embedded=2 * count))
        progress_state = progress.look(second, 2 * count)
    assert progress_state.part == pytest.approx(0.599)
    assert progress_state.left == pytest.approx(401, rel=0.05)
    assert progress.look(400, 2 * count).left is None, "nothing came for more than a minute"


def test_an_estimate_that_has_passed_without_progress_is_not_repeated() -> None:
    done = (0, RunStatistics())
    progress = Progress(100, 100_000, lambda: done)
    progress.look(0, 0)
    done = (98, RunStatistics(size=98_000, chunks=196, embedded=196))
    assert [progress.look(now, 196).left for now in (48, 49)] == [
        pytest.approx(1, abs=0.1),
        pytest.approx(1, abs=0.1),
    ]
    done = (99, RunStatistics(size=99_000, chunks=198, embedded=198))
    assert progress.look(50, 198).left == pytest.approx(0.5, abs=0.1)
    assert progress.look(52, 198).left is None


def test_a_run_of_empty_files_is_done_when_they_are() -> None:
    done = (0, RunStatistics())
    progress = Progress(2, 0, lambda: done)
    assert progress.look(0, 0).part == 0
    done = (2, RunStatistics())
    assert progress.look(1, 0).part == 1


def test_efficiency_is_of_what_each_node_can_do_in_the_time() -> None:
    fast = stats("fast", 4000, busy_seconds=40.0)
    slow = stats("slow", 900, wasted=100, busy_seconds=100.0)
    # In 100 s the fast one could do 10,000 and the slow one 1,000.
    assert efficiency([[fast, slow]], 100.0) == pytest.approx(4900 / 11000)
    assert efficiency([[fast], [slow]], 100.0) == pytest.approx(4900 / 11000)
    # Two processes that kept it busy at the same time, each with half its rate.
    half = stats("fast", 2000, busy_seconds=40.0)
    assert efficiency([[half], [half]], 40.0) == pytest.approx(1.0)
    unused = stats("unused", 0, busy_seconds=0.0)
    assert efficiency([[fast, unused]], 40.0) == pytest.approx(1.0)
    # One left for good after 40 of 100 s, and had been busy until then; the other was busy to the end.
    left = stats("left", 400, busy_seconds=40.0, state="open", gone_since=1040.0)
    other = stats("other", 1000, busy_seconds=100.0)
    assert efficiency([[left, other]], 100.0, 1100.0) == pytest.approx(1.0)
    # For another process it works again.
    back = stats("left", 0, busy_seconds=0.0)
    assert efficiency([[left, other], [back]], 100.0, 1100.0) == pytest.approx(1400 / 2000)
    assert efficiency([[unused]], 40.0) is None
    assert efficiency([], 0.0) is None


def test_what_a_node_does_not_say_is_unknown() -> None:
    mine, other = LoadedModel("m:latest", 4 * GIB, 3 * GIB), LoadedModel("llama:8b", 8 * GIB, 8 * GIB)

    def known(loaded: tuple[LoadedModel, ...] | None, model: str = "m") -> tuple[Any, ...]:
        status = NodeStatus("n", model=model, loaded=loaded)
        mine = status.running
        return status.gpu_memory, mine.on_gpu if mine else None, mine is not None

    assert known((mine, other)) == (11 * GIB, 0.75, True)
    assert known((other,)) == (8 * GIB, None, False)
    assert known((mine,), "m:v2") == (3 * GIB, None, False)
    assert known(()) == (0, None, False)
    assert known((LoadedModel("m:latest"), other)) == (None, None, True)
    assert known(None) == (None, None, False)
    assert NodeStatus("n", model="m").in_memory == "unknown"


def test_memory_is_asked_of_all_nodes_and_none_is_waited_for() -> None:
    model = ModelSpec("nomic-embed-text")
    with nodes({}, {"models": ("other",)}, {}) as running:
        running[2].kill()
        specs = tuple(NodeSpec(name, node.url) for name, node in zip("abc", running, strict=True))
        with ModelMemory(ClusterSpec(specs, model)) as memory:
            until(lambda: memory.nodes)
        assert memory.nodes.keys() == {"a", "b", "c"}
        assert memory.nodes["c"] == NodeStatus.of(specs[2], model=model.name)
    assert not [thread for thread in threading.enumerate() if thread.name == "memory"]


def snapshot(*nodes: Any, ended: bool = False, down: frozenset[str] = frozenset()) -> Snapshot:
    progress_state = ProgressState(120, 400, 31_000_000, 90_000_000, 0.34, 0.0 if ended else 200.0)
    live = LiveNodes([])
    assert live.nodes() == ()
    return Snapshot("/papers", 100.0, progress_state, nodes, down, ended=ended)


def test_a_run_in_words() -> None:
    clock = Clock()
    live, slow = LiveNodes(["gpu", "cpu", "gone", "new"], clock), LiveNodes(["cpu"], clock)
    clock.now += 10
    gone = stats("gone", 10, state="open", in_flight=0, errors={"no": 3}, last_error="Node 'gone': no")
    live.take(message("one", 1.0, stats("gpu", 90), stats("cpu", 10), gone))
    run = snapshot(*live.nodes(), down=frozenset({"gone"}))
    assert how_far(run) == "120 of 400 documents, 31.0 of 90.0 MB; about 3 min 20 s left"
    assert how_fast(run) == "110 texts embedded, 22 texts/s"
    assert log_line(run).endswith(
        "110 texts embedded, 22 texts/s (gone down 2, gpu works 18, cpu works 2, new unknown)"
    )
    assert how_far(replace(run, progress_state=replace(run.progress_state, left=None))).endswith(
        "time left unknown"
    )
    slow.take(message("one", 1.0, stats("cpu", 2)))
    assert log_line(snapshot(*slow.nodes())).endswith("2 texts embedded, 0.4 texts/s (cpu works 0.4)")
    ended = replace(run, ended=True)
    assert how_far(ended) == "120 of 400 documents, 31.0 of 90.0 MB in 1 min 40 s"
    assert log_line(ended).endswith("in 1 min 40 s; 110 texts embedded (gone 9%, gpu 82%, cpu 9%)")
    assert progress_text(run).splitlines() == [
        "22 texts/s; gone down 2, gpu works 18, cpu works 2, new unknown; 120 of 400 documents, 31.0 of 90.0 MB; "
        "about 3 min 20 s left",
        "",
        "- 120 of 400 documents, 31.0 of 90.0 MB",
        "- about 3 min 20 s left",
        "- 110 texts embedded",
        "- 22 texts/s",
        "- down, 2 texts/s: gone",
        "- works, 18 texts/s: gpu",
        "- works, 2 texts/s: cpu",
        "- unknown: new",
        "- of /papers",
    ]
    gpu = NodeStatus("gpu", model="m", loaded=(LoadedModel("m", 6 * GIB, 6 * GIB),))
    cpu = NodeStatus("cpu", model="m", loaded=(LoadedModel("m", 6 * GIB, 0),))
    told = section_markdown(nodes_section(run, {"gpu": gpu}))
    assert told.startswith("110 texts embedded, 22 texts/s.\n\n- **gpu**: works, 18.0 texts/s\n  - share 82%")
    assert "VRAM 6,144 MiB, model 6,144 MiB, all on the GPU" in told
    items = nodes_section(run, {"gpu": gpu, "cpu": cpu}).items
    assert [item.text.split(",")[0] for item in items] == ["works", "works", "down", "unknown"]
    assert [item.below[2] for item in items] == [
        "VRAM 6,144 MiB, model 6,144 MiB, all on the GPU",
        "VRAM 0 MiB, model 6,144 MiB, none on a GPU",
        *["VRAM unknown, model unknown"] * 2,
    ]
    assert items[2].below[0].endswith("breaker open")
    assert items[2].below[3] == "errors 3, last error: Node 'gone': no"
    assert items[3].below == (
        "share unknown, in flight unknown, breaker unknown",
        "seconds of a request: p50 unknown, p95 unknown",
        "VRAM unknown, model unknown",
        "errors unknown, last error: none",
    )
    assert nodes_section(replace(run, down=frozenset()), {}).items[2].text.startswith("rests")
    live.take(message("one", 2.0, replace(gone, refused=True)))
    for down in (frozenset({"gone"}), frozenset()):
        assert nodes_section(snapshot(*live.nodes(), down=down), {}).items[2].text.startswith("left out")


def test_the_picture_of_a_run_shows_every_node_and_its_trouble() -> None:
    timeline = Timeline()
    assert draw_timeline(timeline) is None
    names = [f"node <{number}>" for number in range(12)]
    for second in range(60):
        for number, name in enumerate(names):
            timeline.add(name, second, second + 1, 10 * (20 - number))
    timeline.note_trouble(names[1], 10, 20)
    timeline.note_trouble(names[1], 50, 60)
    picture = draw_timeline(timeline)
    assert picture is not None
    root = ElementTree.fromstring(str(picture))
    texts = [each.text or "" for each in root.iter("{http://www.w3.org/2000/svg}text")]
    assert next(text for text in texts if text.endswith("%")) == "node <0>: 11%"
    assert sum(text.endswith("%") for text in texts) == 8
    assert "5 others: 32%" in texts
    assert "node <1> did not work" in texts
    assert len(str(picture)) < 20_000


def test_shares_in_the_picture_are_those_of_texts_also_where_the_last_column_is_cut_short() -> None:
    timeline = Timeline()
    timeline.add("a", 0.0, timeline.width, 75)
    timeline.add("b", timeline.width, 1.1 * timeline.width, 25)
    timeline.reach(1.1 * timeline.width)
    drawn = str(draw_timeline(timeline))
    assert "a: 75%" in drawn
    assert "b: 25%" in drawn


def test_a_long_run_of_many_nodes_makes_no_large_picture() -> None:
    timeline = Timeline()
    for minute in range(24 * 60):
        for number in range(100):
            timeline.add(f"n{number}", 60 * minute, 60 * minute + 60, (minute * 7919 + number) % 1000)
    picture = draw_timeline(timeline)
    assert picture is not None
    assert len(picture.uri()) < 60_000


def test_figures_are_posted_while_any_task_works_and_once_more_at_its_end() -> None:
    sent: list[dict[str, Any]] = []
    came = threading.Event()
    node = stats("a", 1)

    def send(what: dict[str, Any]) -> None:
        sent.append(what)
        came.set()

    with publishing("run", lambda: (node,), send):
        with publishing("run", lambda: (), lambda what: sent.clear()):
            assert came.wait(240)
        node = stats("a", 2)
    count = len(sent)
    assert [each["name"] for each in sent[-1]["nodes"]] == ["a"]
    assert sent[-1]["nodes"][0]["texts"] == 2
    assert sent[-1]["process"] == process_name()
    assert sent == orjson.loads(orjson.dumps(sent))
    for thread in threading.enumerate():
        if thread.name == "stats":
            thread.join(240)
    assert len(sent) == count


def test_what_goes_wrong_with_posting_reaches_no_task() -> None:
    def broken(*_: Any) -> Any:
        raise OSError("no way there")

    with publishing("run", broken, broken):
        pass
    with publishing("run", lambda: (stats("a"),), broken):
        pass


def test_runs_of_a_context_are_shown_by_its_observer() -> None:
    def show(run: Snapshot) -> None:
        """Shows nothing."""

    assert observer() is None
    with observed_by(show):
        assert observer() is show
    assert observer() is None
