"""`python -m prefect_ollama`, and the console script of the same name."""

from __future__ import annotations

import os
import sys


def main() -> None:
    """Run the command line and end the process with its exit status."""
    # The embedded node needs no Prefect, whose import would cost it seconds.
    if sys.argv[1:2] == ["node"]:
        from prefect_ollama.node import app
    else:
        # Whoever runs a command wants its answer, and not Prefect's log of it, unless they asked for it.
        os.environ.setdefault("PREFECT_LOGGING_LEVEL", "WARNING")
        from prefect_ollama.commands import app
    app()


if __name__ == "__main__":
    main()
