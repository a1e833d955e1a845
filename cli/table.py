"""`prefect-ollama runs`, `roll-back`, `forget` and `maintain`: the commands for an existing table."""

from typing import Annotated

from cyclopts import Parameter

from prefect_ollama.console import INCOMPLETE, OK, confirm, guarded, show
from prefect_ollama.options import PRINT, TABLE, PrintOptions, TableOptions, YesOption, bounded, flag


@guarded(first="Reading the table…")
def runs(
    *,
    table: TableOptions = TABLE,
    limit: Annotated[int, bounded("Number of latest runs to show.", gte=1, name=["--limit", "-l"])] = 20,
    out: PrintOptions = PRINT,
) -> int:
    """List the runs that changed a table, the oldest first."""
    from prefect_ollama import render
    from prefect_ollama.flows import runs as all_runs

    # The latest ones, and the newest of them last: a terminal shows the end.
    found = all_runs(table.named())[-limit:]
    show(found, render.runs(found), out)
    return OK if found else INCOMPLETE


@guarded()
def roll_back(
    run_id: Annotated[str, Parameter(help="The run to undo, as `runs` names it.")],
    *,
    table: TableOptions = TABLE,
    including_later: Annotated[bool, flag("Also undo later runs of the same source.")] = False,
    yes: YesOption = False,
    out: PrintOptions = PRINT,
) -> int:
    """Restore a table as it was before a run. Other sources do not change."""
    from prefect_ollama import render
    from prefect_ollama.flows import preview_roll_back
    from prefect_ollama.flows import roll_back as flow

    place = table.named()
    # Also with `--yes`: what cannot be rolled back is refused before a flow run starts.
    preview = preview_roll_back(run_id, place, including_later)
    if not confirm(render.undo(preview), yes=yes):
        return INCOMPLETE
    undone = flow(run_id, place, including_later=including_later)
    show(undone, render.runs([undone]), out)
    return OK


@guarded()
def forget(
    what: Annotated[
        list[str],
        Parameter(
            help="A source, the path of a document, a folder, or a quoted glob pattern; the files may be gone."
        ),
    ],
    *,
    table: TableOptions = TABLE,
    source: Annotated[
        str | None,
        Parameter(help="Only documents of this source; 'files' for those that were named one by one."),
    ] = None,
    dry_run: Annotated[bool, flag("Show what would be removed, and change nothing.")] = False,
    yes: YesOption = False,
    out: PrintOptions = PRINT,
) -> int:
    """Remove documents from a table. Their files stay, and `roll-back` undoes it."""
    from prefect_ollama import render
    from prefect_ollama.flows import forget as flow
    from prefect_ollama.flows import forgettable

    place = table.named()
    # Also with `--yes`: a name without documents is refused before a flow run starts.
    report = forgettable(what, place, source)
    if not dry_run:
        if not confirm(render.forgotten(report), yes=yes):
            return INCOMPLETE
        report = flow(what, place, source)
    show(report, render.forgotten(report), out)
    return OK


@guarded()
def maintain(
    *,
    table: TableOptions = TABLE,
    force: Annotated[bool, flag("Run all maintenance, even if it is not due.")] = False,
    keep_days: Annotated[
        float, bounded("Days to keep old versions; older runs cannot be rolled back.", gte=0, lte=36_500)
    ] = 7.0,
    memory_mb: Annotated[int, bounded("Maximum memory in MiB.", gt=0)] = 4096,
    out: PrintOptions = PRINT,
) -> int:
    """Run the maintenance that the table needs: merge files, index, delete old versions and left-over files."""
    from prefect_ollama import render
    from prefect_ollama.flows import maintain_table

    done = maintain_table(table.named(), force=force, keep_days=keep_days, memory_mb=memory_mb)
    show(done, render.maintenance(done), out)
    return OK
