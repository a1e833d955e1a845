"""The limits of a saved node, changed by what was measured.

Guarantees: no other field of the node's block is touched, and no secret leaves the server for it; a block that was
changed since it was read, or is gone, stays as it is.
"""

from __future__ import annotations

import httpx
from prefect.client.orchestration import get_client
from prefect.client.schemas.actions import BlockDocumentUpdate
from prefect.exceptions import PrefectException

from prefect_ollama.blocks.errors import ConfigurationError
from prefect_ollama.blocks.node import OllamaNode
from prefect_ollama.blocks.wire.spec import NodeSpec


def save_limits(
    node: NodeSpec, *, max_in_flight: int | None = None, max_request_texts: int | None = None
) -> None:
    """Write the limits of a node into its block.

    Args:
        node: The node, as it was read from its block.
        max_in_flight: Requests at once; None leaves them as they are.
        max_request_texts: Texts in a request; None leaves them as they are.

    Raises:
        ConfigurationError: It has no block, the block is gone or was changed meanwhile, or the Prefect server can't
            be reached.
    """
    given = {"max_in_flight": max_in_flight, "max_request_texts": max_request_texts}
    limits = {name: value for name, value in given.items() if value is not None}
    if not node.block:
        values = ", ".join(f"{name}={value!r}" for name, value in {"url": node.url, **limits}.items())
        raise ConfigurationError(
            f"The node {node.name!r} is no saved block, so nothing was saved.",
            remedy=f"Make one of it in the Prefect UI, or in Python with `OllamaNode({values}).save(…)`.",
        )
    now = OllamaNode.load_named(node.block)
    changed = [name for name in ("url", *limits) if getattr(now, name) != getattr(node, name)]
    if changed:
        raise ConfigurationError(
            f"The block {node.block!r} was changed while its node was measured ({', '.join(changed)}).",
            state="It was left as it is.",
            remedy="Tune the node again.",
        )
    assert now._block_document_id is not None
    # The server merges these two into what it has, in one transaction.
    update = BlockDocumentUpdate(data=limits, merge_existing_data=True)
    try:
        with get_client(sync_client=True) as client:
            client.update_block_document(now._block_document_id, update)
    except (PrefectException, httpx.HTTPError) as error:
        raise ConfigurationError(
            f"The block {node.block!r} could not be saved on the Prefect server ({error}).",
            state="It is as it was.",
            remedy="Check that the server runs, and tune the node again.",
        ) from error
