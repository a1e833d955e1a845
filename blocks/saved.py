"""The nodes that the Prefect server has blocks of, and new ones beside them. No block is ever overwritten here."""

from __future__ import annotations

import httpx
from prefect.client.orchestration import get_client
from prefect.exceptions import PrefectException, PrefectHTTPStatusError

from prefect_ollama.blocks.errors import ConfigurationError
from prefect_ollama.blocks.node import OllamaNode
from prefect_ollama.blocks.wire.address import base_url
from prefect_ollama.blocks.wire.proxy import proxy_hint


def saved_nodes() -> dict[str, str]:
    """All saved nodes: name to address.

    Raises:
        ConfigurationError: The Prefect server can't be reached.
    """
    try:
        with get_client(sync_client=True) as client:
            blocks = client.read_block_documents_by_type(
                OllamaNode.get_block_type_slug(), include_secrets=False
            )
    except (PrefectException, httpx.HTTPError) as error:
        if isinstance(error, PrefectHTTPStatusError) and error.response.status_code == 404:
            return {}  # no node was ever saved there
        raise _unreachable(error) from error
    return {str(block.name): _address(block.data.get("url")) for block in blocks}


def save_node(name: str, url: str) -> bool:
    """Save a node that needs nothing but its address, unless the name is taken.

    Returns:
        Whether it was saved.

    Raises:
        ConfigurationError: The Prefect server can't be reached.
    """
    try:
        OllamaNode.made(url=url).save(name, _sync=True)  # type: ignore[call-arg]
    except ValueError as error:
        if "already in use" not in str(error):
            raise
        return False
    except (PrefectException, httpx.HTTPError) as error:
        raise _unreachable(error) from error
    return True


def _address(value: object) -> str:
    try:
        return base_url(str(value))
    except ValueError:
        return ""


def _unreachable(error: Exception) -> ConfigurationError:
    return ConfigurationError(
        f"The Prefect server does not give or take blocks ({error}).",
        remedy="Check PREFECT_API_URL and that the server runs." + proxy_hint(),
    )
