"""An ingest in a process of its own, which a test can kill: `python -m tests.flow_process SOURCE PLACE ADDRESS URL…`.

It prints the report as JSON. STORE_GUARDED=0 in its environment lets it do without the lock among writers of one host.
"""

from __future__ import annotations

import os
import sys

import orjson

from prefect_ollama.blocks import LanceTable
from prefect_ollama.blocks.lance._write_lock import WriteLock
from prefect_ollama.flows import ingest_pdfs
from prefect_ollama.flows.runner.task_runner import IngestTaskRunner

if __name__ == "__main__":
    if os.environ.get("STORE_GUARDED") == "0":
        WriteLock._take = lambda self: None  # type: ignore[method-assign]
    source, place, address, *urls = sys.argv[1:]
    runner = IngestTaskRunner(address=address) if address != "-" else IngestTaskRunner(2)
    flow = ingest_pdfs.with_options(task_runner=runner)
    report = flow(source, urls, LanceTable(uri=place))
    sys.stdout.buffer.write(orjson.dumps(report.to_dict()))
