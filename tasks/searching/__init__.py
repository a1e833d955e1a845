"""Questions to a table, with no run around them. Needs no Prefect."""

from prefect_ollama.tasks.searching.corpus import Corpus, open_corpus
from prefect_ollama.tasks.searching.opening import open_for_search

__all__ = ["Corpus", "open_corpus", "open_for_search"]
