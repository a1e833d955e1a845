"""`prefect-ollama node`: the embedded model behind Ollama's HTTP API."""

import sys
from pathlib import Path
from typing import Annotated

from cyclopts import App, Parameter

from prefect_ollama.options import examples, refuse_ambiguous_values

app = App(name="prefect-ollama", version_flags=[], config=refuse_ambiguous_values)


EXAMPLES = examples("prefect-ollama node --port 11435 --threads 2")


@app.command(name="node", help_epilogue=EXAMPLES)
def node(
    *,
    # Loopback, because the API has no passwords.
    host: Annotated[str, Parameter(help="Address to listen at.")] = "127.0.0.1",
    # Ollama's own port, so that programs for Ollama find it without a setting.
    port: Annotated[int, Parameter(help="Port to listen at, 1 to 65535; 0 takes a free one.")] = 11434,
    threads: Annotated[
        int, Parameter(help="CPU threads; two nodes with one thread are faster than one with two.")
    ] = 1,
    model_dir: Annotated[
        Path | None, Parameter(help="Folder with the model's files. By default they are found or downloaded.")
    ] = None,
) -> None:
    """Serve the embedded model all-minilm over Ollama's HTTP API, until interrupted."""
    from prefect_ollama.blocks.embedded import serve
    from prefect_ollama.blocks.errors import ConfigurationError, PrefectOllamaError

    try:
        serve(
            host=host,
            port=port,
            threads=threads,
            model_dir=model_dir,
            ready=lambda url: print(f"all-minilm is served at {url}; end with Ctrl-C", flush=True),
            stopping=lambda: None,  # said by `prefect_ollama.stopping`
        )
    except PrefectOllamaError as error:
        # Without the other commands' console, which would import Prefect.
        print(*filter(None, (error.cause, error.state, error.remedy)), sep="\n", file=sys.stderr)
        # As the other commands: 2 for wrong usage.
        sys.exit(2 if isinstance(error, ConfigurationError) else 1)
