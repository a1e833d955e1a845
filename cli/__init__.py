"""prefect-ollama: PDFs into a searchable LanceDB table, embedded by every Ollama node you have."""


def __getattr__(name: str) -> str:
    """Look the version up when it is asked for: that costs a tenth of the time to a command's first line."""
    if name != "__version__":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib.metadata import version

    return version("prefect-ollama")
