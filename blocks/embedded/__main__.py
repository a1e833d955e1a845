"""A node that belongs to the process that started it (`nodes.EmbeddedNodes`), and ends with it.

It reports its URL on stdout as one line, and reads stdin only to learn that its owner is gone: the
pipe closes whichever way the owner ends.
"""

from __future__ import annotations

import os
import sys
import threading
import time

from prefect_ollama.blocks.embedded.server import serve


def main(threads: str, model_dir: str) -> None:
    """Serve on a free loopback port until the owner closes stdin, or is gone."""
    owner = os.getppid()
    threading.Thread(target=_end_with_stdin, daemon=True).start()
    # A process forked off the owner holds the pipe open; so its id is watched as well.
    threading.Thread(target=_end_with_process, args=(owner,), daemon=True).start()
    serve(port=0, threads=int(threads), model_dir=model_dir, ready=lambda url: print(url, flush=True))


def _end_with_stdin() -> None:
    sys.stdin.buffer.read()
    os._exit(0)  # nothing here needs an orderly end: no state, and nobody waits for an answer


def _end_with_process(owner: int) -> None:
    while os.getppid() == owner:
        time.sleep(1)
    os._exit(0)


if __name__ == "__main__":
    main(*sys.argv[1:])
