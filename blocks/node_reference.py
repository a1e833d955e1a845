"""An entry in a cluster's list of nodes: the name of a saved node, a reference to one, or a node itself.

What is stored of it is a name, a URL or a reference, so that no secret of a node is ever copied.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Annotated, Any
from uuid import UUID

from pydantic import BaseModel, BeforeValidator, ConfigDict, SerializationInfo, WithJsonSchema

from prefect_ollama.blocks.base import BLOCK_NAME
from prefect_ollama.blocks.errors import ConfigurationError
from prefect_ollama.blocks.node import OllamaNode
from prefect_ollama.blocks.nodes import NodeSpec, base_url, looks_like_address, short_name


class NodeReference(BaseModel):
    """A saved `OllamaNode`, as the UI writes one that was picked from the list."""

    model_config = ConfigDict(frozen=True)

    block_document_id: UUID


Entry = str | NodeReference | OllamaNode


def _entry(value: Any) -> Any:
    if isinstance(value, Mapping) and "$ref" in value:
        return NodeReference.model_validate(value["$ref"])
    if isinstance(value, OllamaNode):
        return value.name if value.name and value.unchanged else value
    if isinstance(value, NodeReference):
        return value
    if not isinstance(value, str) or not value.strip():
        raise ValueError("a node is the name of a saved Ollama Node block, a URL, or such a block itself")
    text = value.strip()
    if looks_like_address(text):
        return base_url(text)
    if not BLOCK_NAME.fullmatch(text):
        raise ValueError(
            f"{text!r} is neither a block's name (a-z, 0-9 and '-') nor a URL (http://host:11434)"
        )
    return text


NodeEntry = Annotated[
    Entry,
    BeforeValidator(_entry),
    # The form offers saved nodes to pick from, and a line for a name or URL. Were the block's type itself in
    # the schema, Prefect would store copies of the nodes with their secrets in clear.
    WithJsonSchema(
        {
            "anyOf": [
                {
                    "title": "Ollama Node",
                    "type": "object",
                    "block_type_slug": OllamaNode.get_block_type_slug(),
                },
                {"title": "Name or URL", "type": "string"},
            ]
        }
    ),
]


def plain(node: Entry, info: SerializationInfo) -> Any:
    """Return what is stored or shown of an entry: a name, a URL or a reference.

    Raises:
        ConfigurationError: It is a node that is not saved, and is asked for with its secrets.
    """
    if isinstance(node, NodeReference):
        return {"$ref": {"block_document_id": str(node.block_document_id)}}
    if isinstance(node, OllamaNode):
        if info.context and info.context.get("include_secrets"):
            refuse_unsaved([node])
        return node.model_dump(mode=info.mode)
    return node


def refuse_unsaved(nodes: Iterable[Entry]) -> None:
    """Refuse entries that only exist in this process.

    Raises:
        ConfigurationError: There is one.
    """
    for node in nodes:
        if isinstance(node, OllamaNode):
            raise ConfigurationError(
                f"The node {short_name(node.url)!r} of this cluster is not saved as it is here, and a cluster "
                "keeps names of nodes only.",
                state="The cluster was not saved.",
                remedy="Save the node first with `node.save(…)`, then make the cluster with it or its name.",
            )


def node_spec(entry: Entry) -> NodeSpec:
    """Return the node that an entry means; a saved one is loaded from the Prefect server.

    Raises:
        ConfigurationError: Its block is missing or wrong, or the server cannot be reached.
    """
    if isinstance(entry, OllamaNode):
        return entry.to_spec()
    if isinstance(entry, NodeReference):
        return OllamaNode.load_by_id(entry.block_document_id).to_spec()
    if looks_like_address(entry):
        return NodeSpec(name=short_name(entry), url=entry)
    hint = f" If {entry!r} is a host, write http://{entry}:11434."
    return OllamaNode.load_named(entry, hint=hint).to_spec(entry)
