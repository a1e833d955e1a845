"""Read and save node blocks on the Prefect server. No block is overwritten here."""

import httpx
from prefect.client.orchestration import get_client
from prefect.client.schemas.actions import BlockDocumentUpdate
from prefect.exceptions import PrefectException, PrefectHTTPStatusError

from prefect_ollama.blocks.errors import ConfigurationError
from prefect_ollama.blocks.node import OllamaNode
from prefect_ollama.blocks.node_kinds import NODE_KINDS
from prefect_ollama.blocks.nodes import NodeSpec, node_url, proxy_hint


def saved_nodes() -> dict[str, str]:
    """Return the addresses of all saved nodes of every kind, by name.

    Raises:
        ConfigurationError: The Prefect server cannot be reached.
    """
    found: dict[str, str] = {}
    for kind in NODE_KINDS:
        try:
            with get_client(sync_client=True) as client:
                blocks = client.read_block_documents_by_type(
                    kind.get_block_type_slug(), include_secrets=False
                )
        except (PrefectException, httpx.HTTPError) as error:
            if isinstance(error, PrefectHTTPStatusError) and error.response.status_code == 404:
                continue  # no node of this kind was ever saved there
            raise _unreachable(error) from error
        found |= {str(block.name): _address(block.data.get("url")) for block in blocks}
    return found


def save_node(name: str, url: str) -> bool:
    """Save a node that needs only its address, unless the name is taken.

    Returns:
        Whether it was saved.

    Raises:
        ConfigurationError: The Prefect server cannot be reached.
    """
    try:
        OllamaNode(url=url).save(name, _sync=True)  # type: ignore[call-arg]
    except ValueError as error:
        # Prefect has no type for this error.
        if "already in use" not in str(error):
            raise
        return False
    except (PrefectException, httpx.HTTPError) as error:
        raise _unreachable(error) from error
    return True


def _address(value: object) -> str:
    try:
        return node_url(str(value))
    except ValueError:
        # The server also stores invalid addresses.
        return ""


def _unreachable(error: Exception) -> ConfigurationError:
    return ConfigurationError(
        f"The Prefect server does not answer requests for blocks ({error}).",
        remedy="Check PREFECT_API_URL and that the server runs." + proxy_hint(),
    )


def save_limits(
    node: NodeSpec, *, max_in_flight: int | None = None, max_request_texts: int | None = None
) -> None:
    """Write the limits of a node into its block.

    Args:
        node: The node, as it was read from its block.
        max_in_flight: Highest number of requests at the same time; None keeps the present one.
        max_request_texts: Highest number of texts in a request; None keeps the present one.

    Raises:
        ConfigurationError: It has no block, the block is gone or was changed meanwhile, or the Prefect server cannot be
            reached.
    """
    given = {"max_in_flight": max_in_flight, "max_request_texts": max_request_texts}
    limits = {name: value for name, value in given.items() if value is not None}
    kind = next(kind for kind in NODE_KINDS if kind.api == node.api)
    if not node.block:
        values = ", ".join(f"{name}={value!r}" for name, value in {"url": node.url, **limits}.items())
        raise ConfigurationError(
            f"The node {node.name!r} is no saved block, so nothing was saved.",
            remedy=f"Make one of it in the Prefect UI, or in Python with `{kind.__name__}({values}).save(…)`.",
        )
    now = kind.load_saved(node.block)
    # Limits that were measured for other settings must not replace the user's change.
    changed = [name for name in ("url", *limits) if getattr(now, name) != getattr(node, name)]
    if changed:
        raise ConfigurationError(
            f"The block {node.block!r} was changed while its node was measured ({', '.join(changed)}).",
            state="The block was not changed.",
            remedy="Tune the node again.",
        )
    assert now._block_document_id is not None
    # The server merges these values into its own in one transaction, so another change at the same time is kept.
    update = BlockDocumentUpdate(data=limits, merge_existing_data=True)
    try:
        with get_client(sync_client=True) as client:
            client.update_block_document(now._block_document_id, update)
    except (PrefectException, httpx.HTTPError) as error:
        raise ConfigurationError(
            f"The block {node.block!r} could not be saved on the Prefect server ({error}).",
            state="The block was not changed.",
            remedy="Check that the server runs, and tune the node again.",
        ) from error
