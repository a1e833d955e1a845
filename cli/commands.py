"""All commands. Exit status: 0 all well, 1 some files are not in the table or nothing works, 2 wrong usage."""

from collections.abc import Callable

from cyclopts import App, Parameter

import prefect_ollama
from prefect_ollama.ask import ask
from prefect_ollama.cache import cache
from prefect_ollama.documents import documents
from prefect_ollama.ingest import ingest, re_embed
from prefect_ollama.mcp import mcp
from prefect_ollama.node import EXAMPLES as NODE_EXAMPLES
from prefect_ollama.node import node
from prefect_ollama.nodes import discover, nodes, tune
from prefect_ollama.options import examples, refuse_ambiguous_values
from prefect_ollama.research import research, summarize
from prefect_ollama.search import search
from prefect_ollama.table import forget, maintain, roll_back, runs

# Every help text ends in it, because scripts depend on it.
STATUS = "Exit status: 0 all is well, 1 something is missing or failed (the rest is done), 2 wrong usage."

# Tests parse each example, so that none names an option that does not exist.
EXAMPLES: dict[Callable[..., int], tuple[str, ...]] = {
    ingest: (
        "prefect-ollama ingest ~/papers",
        "prefect-ollama ingest ~/papers -n http://gpu:11434 -n http://mini:11434",
    ),
    search: (
        "prefect-ollama search 'Why are there two high waters in a day?' --limit 3",
        "prefect-ollama search 'high water' -d reports --show pictures",
    ),
    documents: (
        "prefect-ollama documents --table papers --problems",
        "prefect-ollama documents report.pdf --markdown -o report.md",
    ),
    mcp: ("prefect-ollama mcp --table papers", "prefect-ollama mcp --table papers --http --port 8765"),
    ask: (
        "prefect-ollama ask 'Why are there two high waters in a day?'",
        "prefect-ollama ask 'Why are there two high waters in a day?' --cluster home --drafts 3 --json",
    ),
    research: (
        "prefect-ollama research 'What makes the tide?' --cluster home -o a.md",
        "prefect-ollama research 'What makes the tide?' --max-seconds 300 --json",
    ),
    summarize: (
        "prefect-ollama summarize tides.pdf --cluster home",
        "prefect-ollama summarize reports --pages 1-20 --json",
    ),
    runs: ("prefect-ollama runs --table papers --limit 5",),
    roll_back: ("prefect-ollama roll-back 0198c2f4-7d1e-7a53-b8e0-5f2a9c6d4e31 --table papers",),
    forget: (
        "prefect-ollama forget ~/papers/drafts --dry-run",
        "prefect-ollama forget '~/papers/**/*-old.pdf'",
    ),
    re_embed: ("prefect-ollama re-embed --table papers --model bge-m3",),
    maintain: ("prefect-ollama maintain --table papers --keep-days 30",),
    nodes: ("prefect-ollama nodes --node http://gpu:11434 --model nomic-embed-text",),
    tune: ("prefect-ollama tune --node gpu-box --seconds 60",),
    discover: ("prefect-ollama discover 192.168.1.0/24 --save",),
}

app = App(
    name="prefect-ollama",
    # A function, so that the metadata of the package is read only if it is asked for.
    version=lambda: prefect_ollama.__version__,
    help="Keep a searchable LanceDB table in step with folders of PDFs, embedded by all the Ollama nodes you have.",
    # Omits `--empty-node` and similar options, which Cyclopts makes for options that may be given several times.
    default_parameter=Parameter(negative_iterable=()),
    config=refuse_ambiguous_values,
    help_epilogue=f"{examples('prefect-ollama ingest ~/papers', 'prefect-ollama --install-completion')}\n\n{STATUS}",
)
# In the order of the dictionary, which is that of the help.
for each, lines in EXAMPLES.items():
    app.command(each, help_epilogue=f"{examples(*lines)}\n\n{STATUS}")
# Without the status: it serves until it is interrupted.
app.command(node, help_epilogue=NODE_EXAMPLES)
app.command(cache)
app.register_install_completion_command(
    help="Let the shell complete commands and options: writes its script, and a line into the shell's start file.",
    help_epilogue=examples("prefect-ollama --install-completion --shell bash"),
)
