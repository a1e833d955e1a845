"""A process that judges on nodes, as `ask` does: `python -m tests.answering_process NAME COUNT URL`.

It opens the nodes, says "ready", waits for a line, and asks that many short questions of the chat model.
"""

from __future__ import annotations

import asyncio
import sys

from prefect_ollama.blocks.nodes import (
    ChatMessage,
    ChatModelSpec,
    ChatRequest,
    ClusterSpec,
    ModelSpec,
    NodeSpec,
    verify_cluster,
)
from prefect_ollama.tasks.answering import answering_nodes
from prefect_ollama.tasks.dispatch import Dispatcher

if __name__ == "__main__":
    name, count, url = sys.argv[1:]
    spec = ClusterSpec((NodeSpec("node", url),), ModelSpec("nomic-embed-text"), chat=ChatModelSpec("qwen3"))
    with (
        Dispatcher(asyncio.run(verify_cluster(spec))) as dispatcher,
        answering_nodes(spec, dispatcher) as nodes,
    ):
        print("ready", flush=True)
        sys.stdin.readline()
        assert nodes.chat is not None
        asked = [ChatRequest((ChatMessage("user", f"{name} {each}"),)) for each in range(int(count))]
        found = nodes.chat.ask(asked)
        assert not found.failures, found.failures
