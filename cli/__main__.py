"""`python -m prefect_ollama`, and the console script of the same name."""

from __future__ import annotations

import io
import os
import sys
from datetime import date
from typing import TYPE_CHECKING, Any, Final

if __name__ == "__main__" and not sys.flags.safe_path:
    # `python -m` puts the working folder there: in `/tmp`, a module that another user left would be imported.
    del sys.path[0]

from prefect_ollama.stopping import stopping

if TYPE_CHECKING:
    from cyclopts import CycloptsError
    from rich.panel import Panel


# How to write the value of an option, by its type: Cyclopts only names the type.
_FORMATS: Final[dict[Any, str]] = {
    date: "Write a day as YEAR-MONTH-DAY, such as 2024-12-31.\n",
    int: "Write a whole number, such as 12.\n",
    float: "Write a number, such as 2.5.\n",
    bool: "Write the option alone, without a value.\n",
}


def _panel(error: CycloptsError) -> Panel:
    from cyclopts import CoercionError, CycloptsPanel

    from prefect_ollama.blocks.printable import printable

    command = " ".join(("prefect-ollama", *(error.command_chain or ())))
    hint = _FORMATS.get(error.target_type, "") if isinstance(error, CoercionError) else ""
    # The shell puts names of files into arguments, so an argument is text from outside too.
    return CycloptsPanel(f"{printable(error, lines=True)}\n{hint}{command} --help shows what there is.")


def _print_anything() -> None:
    """Print characters that the terminal's encoding lacks as escapes, so that the output of a run is not lost."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper) and stream.errors == "strict":
            stream.reconfigure(errors="backslashreplace")


def main() -> None:
    """Run the command line and end the process with its exit status."""
    _print_anything()
    stopping.install()
    # All files that this process makes are for its user alone: Prefect's home with its database, tables, caches.
    os.umask(0o077)
    status: int | str | None = None
    try:
        # Modules load in there, where Ctrl-C is handled already. Cyclopts exits with 2 if the usage is wrong.
        _run(sys.argv[1:])
    except SystemExit as end:
        status = end.code
    except BaseException:
        if stopping.status is None:
            raise
    stopping.finish()
    sys.exit(status)


def _run(arguments: list[str]) -> None:
    # The embedded node needs no Prefect, whose import would cost it seconds.
    if arguments[:1] == ["node"]:
        from prefect_ollama.node import app
    else:
        from prefect_ollama.commands import app
    app(arguments, error_formatter=_panel)


if __name__ == "__main__":
    main()
