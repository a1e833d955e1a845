"""Small tasks and flows for the tests of the task runner, in a module that workers can import."""

from __future__ import annotations

import os
import signal
import threading
import time
from pathlib import Path
from typing import Any

import distributed
from prefect import flow, get_run_logger, task
from prefect.cache_policies import INPUTS

from prefect_ollama.tasks.prefect_state.task_options import runs_on

#: Changed by tests in their own process; workers that import this module never see it.
where = "worker"


def _place() -> dict[str, Any]:
    return {
        "worker": distributed.get_worker().name,
        "pid": os.getpid(),
        "thread": threading.get_ident(),
        "where": where,
        "api": os.environ.get("PREFECT_API_URL"),
    }


@task(task_run_name="parse {number}")
@runs_on("parse")
def parse(number: int) -> dict[str, Any]:
    get_run_logger().info("parsing number %s", number)
    return {"number": number, **_place()}


@task(task_run_name="embed {scale}")
@runs_on("embed")
def embed(parsed: dict[str, Any], scale: int) -> dict[str, Any]:
    return {"parsed": parsed, "value": parsed["number"] * scale, **_place()}


@task
def anywhere() -> dict[str, Any]:
    return _place()


@task
@runs_on("embed")
async def embed_async(number: int) -> int:
    return number + 1


@task(persist_result=True, cache_policy=INPUTS)
@runs_on("parse")
def cached(number: int) -> tuple[int, float]:
    return number, time.monotonic()


@task(retries=2)
@runs_on("parse")
def works_the_third_time(folder: Path) -> int:
    tries = len(list(folder.iterdir()))
    (folder / str(tries)).touch()
    if tries < 2:
        raise ConnectionError("not yet")
    return tries


@task
@runs_on("parse")
def fails() -> None:
    raise ValueError("not today")


@task
@runs_on("embed")
def meets(folder: Path, name: str, others: int) -> str:
    """Return when `others` have come too, so that all run at the same time."""
    (folder / name).touch()
    deadline = time.monotonic() + 240
    while len(list(folder.iterdir())) < others:
        if time.monotonic() > deadline:
            raise TimeoutError(name)
        time.sleep(0.01)
    return name


@task
@runs_on("embed")
def hangs(started: Path) -> None:
    started.touch()
    threading.Event().wait(3600)


@task
@runs_on("embed")
def waits(started: Path, stop: Path) -> None:
    started.touch()
    deadline = time.monotonic() + 240
    while not stop.exists():
        if time.monotonic() > deadline:
            raise TimeoutError(stop)
        time.sleep(0.01)


@task
@runs_on("embed")
def submits(number: int) -> int:
    return embed_async.submit(number).result()


@task(task_run_name="deadly {number}")
@runs_on("parse")
def deadly(number: int, victims: Path) -> int:
    """Kill the worker, as the kernel does when memory runs out, as often as `victims` has lines left."""
    if number == 0:
        with victims.open("a") as log:
            log.write(f"{os.getpid()}\n")
        os.kill(os.getpid(), signal.SIGKILL)
    return number


@task
@runs_on("parse")
def deadly_once(number: int, victims: Path) -> int:
    if number == 0 and not victims.exists():
        victims.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return number


@task
@runs_on("parse")
def large(size: int) -> bytes:
    return bytes(size)


@task
@runs_on("embed")
def length(data: bytes) -> bytes:
    return data[: len(data) // 2]


class Box:
    def __init__(self, content: int) -> None:
        self.content = content


@task
def boxed(content: int) -> Box:
    return Box(content)


@flow
def small(number: int) -> int:
    return embed.submit(parse.submit(number), 2).result()["value"]
