"""Small tasks for the tests of the task runner, in a module that workers can import."""

from __future__ import annotations

import os
import threading

import distributed
from prefect import get_run_logger, task

from prefect_ollama.flows.task_runner import runs_on


@task(task_run_name="parse {number}")
@runs_on("parse")
def parse(number: int) -> dict[str, object]:
    get_run_logger().info("parsing %s", number)
    return {"number": number, "worker": distributed.get_worker().name, "pid": os.getpid()}


@task(task_run_name="embed {scale}")
@runs_on("embed")
def embed(parsed: dict[str, object], scale: int) -> dict[str, object]:
    return {
        "parsed": parsed,
        "value": parsed["number"] * scale,
        "worker": distributed.get_worker().name,
        "pid": os.getpid(),
        "thread": threading.get_ident(),
    }
