"""Compare a source with the manifest, and plan the run."""

from collections.abc import Sequence

from prefect import task
from prefect.runtime import task_run

from prefect_ollama.blocks.documents import Document
from prefect_ollama.blocks.errors import ConfigurationError
from prefect_ollama.blocks.lance import Store
from prefect_ollama.blocks.printable import printable
from prefect_ollama.blocks.user_path import with_home
from prefect_ollama.tasks.chunking import CHUNKER_VERSION
from prefect_ollama.tasks.parsing import format_of
from prefect_ollama.tasks.planning import (
    Plan,
    Source,
    documents_named,
    expand_list_file,
    find_files,
    make_plan,
    refuse_absent,
    source_display_name,
    source_name,
)
from prefect_ollama.tasks.prefect_state import UNCACHED, Opaque, run_logger


def _name() -> str:
    return printable(f"plan {source_display_name(task_run.parameters['source'])}", longest=200)


@task(name="plan", task_run_name=_name, **UNCACHED)
def plan_source(
    source: str | Sequence[str],
    store: Opaque[Store | None],
    *,
    remove_missing: bool,
    allow_empty: bool,
    retry_failed: bool,
    rehash: bool = False,
    reread: bool = False,
    exclude: Sequence[str] = (),
) -> Opaque[Plan]:
    """Find the files of a source, and decide what to do with each. Files are read only to recognise renamed ones.

    Args:
        source: The source, as the user named it; `@FILE` names a file with a list.
        store: The table; None if it does not exist yet.
        allow_empty: As for `make_plan`, as all others; then a folder that the table knows may also be gone itself.
        exclude: As for `find_files`.

    Raises:
        ConfigurationError: The source or the list that names it is not there, or all of its documents would be removed.
    """
    source = expand_list_file(source)
    table = store.content
    # Only if the user allows it: a folder may be gone because its disk is not mounted.
    found = _vanished_source(source, table) if allow_empty and table is not None else None
    # All sources and not only this one, because files may have moved from another, or be in both.
    rows = table.manifest() if table is not None else []
    try:
        found = found or find_files(source, exclude)
    except ConfigurationError as error:
        raise _with_way_out(error, source, rows) from None
    plan = make_plan(
        found,
        [row for row in rows if row.source == found.name],
        remove_missing=remove_missing,
        allow_empty=allow_empty,
        retry_failed=retry_failed,
        rehash=rehash,
        reread=reread,
        is_outdated=_is_outdated,
        others=[row for row in rows if row.source != found.name],
    )
    counts = ", ".join(f"{count} {name.replace('_', ' ')}" for name, count in plan.counts().items() if count)
    run_logger().info("Plan for %s: %s", found.name, counts or "nothing there")
    for note in plan.notes:
        run_logger().warning("%s", note)
    return Opaque(plan)


def check_source(
    source: str | Sequence[str], table: Store | None, *, allow_empty: bool, exclude: Sequence[str]
) -> None:
    """Refuse a source that is not there, before the run starts. No folder is searched.

    Args:
        source: As for `plan_source`, as all others.

    Raises:
        ConfigurationError: As for `plan_source`.
    """
    source = expand_list_file(source)
    # A folder that is gone may be meant, which its plan decides.
    if allow_empty and isinstance(source, str):
        return
    try:
        refuse_absent(source, exclude)
    except ConfigurationError as error:
        raise _with_way_out(error, source, table.manifest() if table is not None else []) from None


def _is_outdated(row: Document) -> bool:
    return row.parser_version < format_of(row.path).version or row.chunker_version < CHUNKER_VERSION


def _with_way_out(
    error: ConfigurationError, source: str | Sequence[str], rows: Sequence[Document]
) -> ConfigurationError:
    """Return the error of a missing source. If the table has documents of it, the remedy says how to remove them."""
    # Something is there, so the error is another one, such as missing rights.
    if not isinstance(source, str) or with_home(source).exists():
        return error
    try:
        known = documents_named([source], rows)
    except ConfigurationError:
        return error
    return ConfigurationError(
        error.cause,
        state=f"{error.state} The table has {len(known)} of its documents.",
        remedy=f"{error.remedy} If it was deleted or moved permanently, `forget` {source!r} removes them.",
    )


def _vanished_source(source: str | Sequence[str], table: Store) -> Source | None:
    """Return the source of a folder that does not exist any more, or None if the table has no documents of it."""
    if not isinstance(source, str) or (folder := with_home(source)).exists():
        return None
    name = source_name(folder)
    return Source(name, whole=True, files=()) if table.manifest(name) else None
