"""prefect-ollama: put PDF files into a searchable LanceDB table, embedded by all your Ollama nodes."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from prefect_ollama.blocks.documents import CheckedAnswer as CheckedAnswer
    from prefect_ollama.blocks.documents import Found as Found
    from prefect_ollama.blocks.documents import Hit as Hit
    from prefect_ollama.tasks.answering import AskOptions as AskOptions
    from prefect_ollama.tasks.searching import Corpus as Corpus
    from prefect_ollama.tasks.searching import Filter as Filter
    from prefect_ollama.tasks.searching import open_corpus as open_corpus

__all__ = ["AskOptions", "CheckedAnswer", "Corpus", "Filter", "Found", "Hit", "open_corpus"]

# Packages that define the names. Written out, because `lazy_exports` would import the package of blocks.
_HOMES = {
    "AskOptions": "tasks.answering",
    "CheckedAnswer": "blocks.documents",
    "Corpus": "tasks.searching",
    "Filter": "tasks.searching",
    "Found": "blocks.documents",
    "Hit": "blocks.documents",
    "open_corpus": "tasks.searching",
}


def __getattr__(name: str) -> Any:
    """Import a public name at its first use: importing all of them would delay a command's first line."""
    if name == "__version__":
        from importlib.metadata import version

        return version("prefect-ollama")
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__, "__version__"})
