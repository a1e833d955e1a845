"""A run in a process of its own: `python -m tests.dispatch.run FOLDER NAME COUNT URL…`.

It proves the nodes, says "ready", waits for a line, embeds that many texts and prints the seconds that took.
"""

from __future__ import annotations

import asyncio
import sys
import time
from pathlib import Path

from prefect_ollama.blocks.nodes.spec import ClusterSpec, ModelSpec, NodeSpec
from prefect_ollama.blocks.nodes.verification import verify_cluster
from prefect_ollama.tasks.dispatch import Dispatcher

if __name__ == "__main__":
    folder, name, count, *urls = sys.argv[1:]
    nodes = tuple(NodeSpec(f"node {number}", url) for number, url in enumerate(urls))
    cluster = asyncio.run(verify_cluster(ClusterSpec(nodes, ModelSpec("nomic-embed-text"))))
    with Dispatcher(cluster, None if folder == "-" else Path(folder)) as dispatcher:
        print("ready", flush=True)
        sys.stdin.readline()
        begun = time.monotonic()
        embedded = dispatcher.embed([f"{name} {number} ".ljust(400, "x") for number in range(int(count))])
        assert not embedded.failures
        print(time.monotonic() - begun, flush=True)
        errors = [dict(node.errors) for node in dispatcher.stats() if node.errors]
        assert not errors, errors
