"""`python -m prefect_ollama`, and the console script of the same name."""

from __future__ import annotations

import sys

from cyclopts import CycloptsError

USAGE = 2


def main() -> None:
    """Run the command line and end the process with its exit status."""
    # The embedded node needs no Prefect, whose import would cost it seconds.
    if sys.argv[1:2] == ["node"]:
        from prefect_ollama.node import app
    else:
        from prefect_ollama.commands import app
    try:
        app(exit_on_error=False)
    except CycloptsError:
        sys.exit(USAGE)


if __name__ == "__main__":
    main()
