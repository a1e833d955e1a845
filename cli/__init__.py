"""prefect-ollama: PDFs into a searchable LanceDB table, embedded by every Ollama node you have."""

from importlib.metadata import version

__version__ = version("prefect-ollama")
