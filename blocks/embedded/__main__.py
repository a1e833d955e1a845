"""The process of one embedded node. It ends with the process that started it (`nodes.EmbeddedNodes`).

It prints its URL as one line. It reads stdin only to notice the end of its owner, which closes the pipe in any case.
"""

from __future__ import annotations

import os
import sys
import threading
import time

from prefect_ollama.blocks.embedded.server import serve


def main(model_dir: str) -> None:
    """Serve on a free loopback port until the owner closes stdin or ends."""
    owner = os.getppid()
    threading.Thread(target=_end_with_stdin, daemon=True).start()
    # A process that the owner forked keeps the pipe open, so the id of the parent is watched too.
    threading.Thread(target=_end_with_process, args=(owner,), daemon=True).start()
    serve(port=0, model_dir=model_dir, ready=lambda url: print(url, flush=True))


def _end_with_stdin() -> None:
    sys.stdin.buffer.read()
    os._exit(0)  # an orderly end is not needed: there is no state, and nobody waits for an answer


def _end_with_process(owner: int) -> None:
    while os.getppid() == owner:
        time.sleep(1)
    os._exit(0)


if __name__ == "__main__":
    main(*sys.argv[1:])
