"""An ingest in a process of its own, to be killed: `python -m tests.crash.flow SOURCE PLACE COMMIT_CHUNKS URL…`.

It prints the report as JSON. A commit takes COMMIT_CHUNKS chunks, so that small documents can make many commits.
"""

from __future__ import annotations

import sys

import orjson

from prefect_ollama.blocks import LanceTable
from prefect_ollama.flows import ingest_pdfs
from prefect_ollama.flows.runner.task_runner import IngestTaskRunner
from prefect_ollama.tasks import store

if __name__ == "__main__":
    source, place, commit_chunks, *urls = sys.argv[1:]
    store.COMMIT_CHUNKS = int(commit_chunks)
    flow = ingest_pdfs.with_options(task_runner=IngestTaskRunner(1))
    report = flow(source, urls, LanceTable(uri=place))
    sys.stdout.buffer.write(orjson.dumps(report.to_dict()))
