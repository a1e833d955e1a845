"""`prefect-ollama cache`: look at the vector cache of this machine, or empty it."""

from typing import Annotated

from cyclopts import App, Parameter

from prefect_ollama.blocks.errors import ConfigurationError
from prefect_ollama.console import OK, guarded, show
from prefect_ollama.options import PRINT, PrintOptions, examples

FolderOption = Annotated[
    str | None, Parameter(help="Folder of the cache; by default that of the flows on this machine.")
]

cache = App(
    name="cache",
    help="Look at the vector cache, or empty it.",
    help_epilogue=examples("prefect-ollama cache", "prefect-ollama cache clear"),
)


@cache.default
def look(*, folder: FolderOption = None, out: PrintOptions = PRINT) -> int:
    """Show what the vector cache holds."""
    return _show_stats(folder, empty=False, out=out)


@cache.command(help_epilogue=examples("prefect-ollama cache clear"))
def clear(*, folder: FolderOption = None, out: PrintOptions = PRINT) -> int:
    """Empty the vector cache, and show what it held. Runs may continue meanwhile: they embed missing texts again."""
    return _show_stats(folder, empty=True, out=out)


@guarded(first="Reading the vector cache…")
def _show_stats(folder: str | None, *, empty: bool, out: PrintOptions) -> int:
    from prefect_ollama import render
    from prefect_ollama.blocks.cache import CacheSpec, VectorCache, holds_cache
    from prefect_ollama.blocks.resolve import default_cache

    spec = CacheSpec(folder) if folder is not None else default_cache()
    # Before the first run the default folder does not exist, which is not an error.
    if folder is not None and not holds_cache(spec.folder):
        raise ConfigurationError(
            f"There is no vector cache in {spec.folder!r}.",
            state="Nothing was changed.",
            remedy="Check the folder; without --folder it is the cache that the flows use here.",
        )
    opened = VectorCache(spec)
    stats = opened.clear() if empty else opened.stats()
    show(stats, render.cache(stats, emptied=empty), out)
    return OK
