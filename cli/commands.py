"""All commands. Exit status: 0 all well, 1 some files are not in the table or nothing works, 2 wrong usage."""

from __future__ import annotations

from cyclopts import App, Parameter

import prefect_ollama
from prefect_ollama.cache import cache
from prefect_ollama.ingest import ingest, re_embed
from prefect_ollama.node import node
from prefect_ollama.nodes import discover, nodes, tune
from prefect_ollama.search import search
from prefect_ollama.table import maintain, roll_back, runs

app = App(
    name="prefect-ollama",
    version=prefect_ollama.__version__,
    help="Keep a searchable LanceDB table in step with folders of PDFs, embedded by all the Ollama nodes you have.",
    default_parameter=Parameter(negative_iterable=()),
    help_epilogue="Exit status: 0 all is well, 1 something is missing (the rest is done all the same), 2 wrong usage.",
)
for each in (ingest, search, runs, roll_back, re_embed, maintain, nodes, tune, discover, node):
    app.command(each)
app.command(cache)
