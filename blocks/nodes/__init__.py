"""What the product asks of a node, whatever API the node speaks.

Guarantees: no module outside this package and `prefect_ollama.blocks.wire` knows a URL path or a JSON field of a node;
each API has one module, which implements `Endpoint`.
"""

from __future__ import annotations

from prefect_ollama.blocks.nodes.apis import open_endpoint
from prefect_ollama.blocks.nodes.endpoint import Endpoint, Inventory, NodeModel, Progress

__all__ = ["Endpoint", "Inventory", "NodeModel", "Progress", "open_endpoint"]
