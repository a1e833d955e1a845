"""A process that brings a table to the present schema, and may be killed at one of its steps.

`python -m tests.migration_process FOLDER` prints the steps. With a number behind it the process kills itself, by
SIGKILL, at the step of this number, counted from 0. With `no-lock` it does without the lock of local tables, as in an
object store, and waits for a line on standard input before it begins.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from typing import Any

from prefect_ollama.blocks.lance import Store, StoreSpec
from prefect_ollama.blocks.lance import _migration as migration
from prefect_ollama.blocks.lance import _runs as runs
from prefect_ollama.blocks.lance import _schema as schema
from prefect_ollama.blocks.lance import _write_lock as write_lock


def main(folder: str, *how: str) -> None:
    steps: list[str] = []
    last = int(how[0]) if how and how[0].isdigit() else None

    def step(name: str) -> None:
        if len(steps) == last:
            os.kill(os.getpid(), signal.SIGKILL)
        steps.append(name)

    def told(owner: Any, name: str) -> None:
        real: Callable[..., Any] = getattr(owner, name)

        def call(*args: Any, **kwargs: Any) -> Any:
            step(f"before {name}")
            result = real(*args, **kwargs)
            step(f"after {name}")
            return result

        setattr(owner, name, call)

    told(runs.RunLog, "claim")
    told(migration, "rewrite")
    told(schema, "upgraded")  # within a rewrite, while its rows are on their way
    told(migration, "ensure_indices")
    told(runs.RunLog, "release")
    if "no-lock" in how:
        write_lock.fcntl = None  # type: ignore[assignment]
        print("ready", flush=True)
        sys.stdin.readline()
    done = Store.open(StoreSpec(folder)).upgrade()
    print("\n".join(steps))
    print(f"rewrote {len(done)}")


if __name__ == "__main__":
    main(*sys.argv[1:])
