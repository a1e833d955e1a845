"""Serve the deployments of `prefect.yaml` from one process, with no work pool and no worker.

    python deployments/serve.py [FILE]

FILE is another file of that form. Runs start as processes of their own on this machine, until this one ends.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml
from prefect import serve
from prefect.client.schemas.objects import ConcurrencyLimitConfig
from prefect.deployments.runner import RunnerDeployment
from prefect.flows import load_flow_from_entrypoint
from prefect.schedules import Cron
from prefect.types.entrypoint import EntrypointType

FILE = Path(__file__).with_name("prefect.yaml")


def deployments(file: Path) -> Iterator[RunnerDeployment]:
    """The deployments of a file; what it says of work pools has no meaning here."""
    for each in yaml.safe_load(file.read_text(encoding="utf-8"))["deployments"]:
        yield deployment(**each)


def deployment(
    name: str,
    entrypoint: str,
    parameters: dict[str, Any] | None = None,
    schedules: list[dict[str, Any]] | None = None,
    concurrency_limit: dict[str, Any] | None = None,
    work_pool: object = None,
) -> RunnerDeployment:
    """One deployment, from its entry in the file."""
    return load_flow_from_entrypoint(entrypoint).to_deployment(
        name,
        parameters=parameters,
        schedules=[Cron(each.pop("cron"), **each) for each in schedules or []],
        concurrency_limit=ConcurrencyLimitConfig(**concurrency_limit) if concurrency_limit else None,
        entrypoint_type=EntrypointType.MODULE_PATH,
    )


if __name__ == "__main__":
    serve(*deployments(Path(sys.argv[1]) if len(sys.argv) > 1 else FILE))
