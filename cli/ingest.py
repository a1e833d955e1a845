"""`prefect-ollama ingest` and `re-embed`: the commands that read documents into a table."""

from typing import Annotated

from cyclopts import Parameter

from prefect_ollama.console import INCOMPLETE, KEPT, OK, confirm, guarded, show
from prefect_ollama.node_options import NODES, NodeOptions
from prefect_ollama.options import PRINT, TABLE, ExcludeOption, PrintOptions, TableOptions, YesOption, flag
from prefect_ollama.reading_options import READING, SIZES, ChunkSizes, ReadingOptions


@guarded(kept=KEPT)
def ingest(
    source: Annotated[
        list[str],
        Parameter(
            help="A folder with PDFs, a quoted glob pattern, files, or @FILE with a list of files, one a line."
        ),
    ],
    *,
    nodes: NodeOptions = NODES,
    table: TableOptions = TABLE,
    dry_run: Annotated[bool, flag("Show what would be done, and change nothing.")] = False,
    keep_missing: Annotated[bool, flag("Keep documents in the table whose file is gone.")] = False,
    allow_empty: Annotated[bool, flag("Allow that all documents of the source are removed.")] = False,
    retry_failed: Annotated[bool, flag("Try unchanged files again that failed before.")] = False,
    rehash: Annotated[bool, flag("Read every file, even if its size and time did not change.")] = False,
    reread: Annotated[
        bool,
        flag(
            "Read files again that did not change, if an earlier version of the parser or chunker read them. "
            "Only chunks whose text changes are embedded."
        ),
    ] = False,
    exclude: ExcludeOption = (),
    pull: Annotated[bool, flag("Let nodes download the model if they lack it.")] = False,
    reading: ReadingOptions = READING,
    sizes: ChunkSizes = SIZES,
    cache: Annotated[bool, Parameter(help="Keep vectors, so that no text is ever embedded twice.")] = True,
    out: PrintOptions = PRINT,
) -> int:
    """Bring a table in step with a folder of PDFs."""
    from prefect_ollama import render
    from prefect_ollama.flows import Advanced, ingest_pdfs
    from prefect_ollama.live import shown_live

    # The live display ends before the report is printed: both would write to the same lines.
    with shown_live(json=out.json or out.quiet):
        report = ingest_pdfs(
            # One word may be a folder or a pattern; several are files that the shell has listed.
            source[0] if len(source) == 1 else source,
            nodes.named(),
            table.named(),
            nodes.model,
            dry_run=dry_run,
            retry_failed=retry_failed,
            rehash=rehash,
            reread=reread,
            exclude=list(exclude),
            reading=reading.form(),
            chunking=sizes.form(),
            # The field of the form is on by default. An option changes the default, so it names the opposite.
            advanced=Advanced(
                remove_missing=not keep_missing, allow_empty=allow_empty, pull=pull, use_cache=cache
            ),
        )
    show(report, render.report(report), out)
    return OK if report.ok else INCOMPLETE


@guarded(kept=KEPT)
def re_embed(
    *,
    nodes: NodeOptions = NODES,
    table: TableOptions = TABLE,
    exclude: ExcludeOption = (),
    reading: ReadingOptions = READING,
    sizes: ChunkSizes = SIZES,
    yes: YesOption = False,
    out: PrintOptions = PRINT,
) -> int:
    """Embed all documents of a table again, beside it, and swap them in when all are there."""
    from prefect_ollama import render
    from prefect_ollama.flows import re_embed as flow
    from prefect_ollama.flows import re_embed_cost
    from prefect_ollama.live import shown_live

    place, at = table.named(), nodes.named()
    # The cost is measured on the nodes, which takes seconds, so `--yes` skips it.
    if not yes:
        cost = re_embed_cost(place, at, nodes.model, list(exclude))
        if not confirm(render.re_embedding(cost), yes=yes):
            return INCOMPLETE
    with shown_live(json=out.json or out.quiet):
        swap = flow(
            place, at, nodes.model, reading=reading.form(), exclude=list(exclude), chunking=sizes.form()
        )
    show(swap, render.runs([swap]), out)
    return OK
