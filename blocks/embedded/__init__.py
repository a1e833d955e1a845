"""The embedded node: all-MiniLM-L6-v2 on onnxruntime, behind Ollama's HTTP API. The package does not import Prefect.

`EmbeddedNodes` runs nodes during a `with` block, `serve` runs one in this process, and `count_tokens` counts tokens as
nodes do.
"""

from typing import TYPE_CHECKING

from prefect_ollama.blocks.lazy_exports import lazy_exports

if TYPE_CHECKING:
    from prefect_ollama.blocks.embedded.nodes import EmbeddedNodes
    from prefect_ollama.blocks.embedded.server import serve
    from prefect_ollama.blocks.embedded.tokens import count_tokens
else:
    __getattr__, __dir__ = lazy_exports(__name__, __file__)
