"""`python -m prefect_ollama`, and the console script of the same name."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

if __name__ == "__main__" and not sys.flags.safe_path:
    # `python -m` puts the working folder there: in `/tmp`, a module that another user left would be imported.
    del sys.path[0]

from cyclopts import CycloptsError, CycloptsPanel

from prefect_ollama.blocks.printable import printable

if TYPE_CHECKING:
    from rich.panel import Panel

USAGE = 2


def _panel(error: CycloptsError) -> Panel:
    # The shell puts names of files into arguments, so an argument is text from outside too.
    return CycloptsPanel(printable(error, lines=True))


def main() -> None:
    """Run the command line and end the process with its exit status."""
    # What this makes is for its user alone: Prefect's home with its database, tables, caches.
    os.umask(0o077)
    # The embedded node needs no Prefect, whose import would cost it seconds.
    if sys.argv[1:2] == ["node"]:
        from prefect_ollama.node import app
    else:
        from prefect_ollama.commands import app
    try:
        app(exit_on_error=False, error_formatter=_panel)
    except CycloptsError:
        sys.exit(USAGE)


if __name__ == "__main__":
    main()
