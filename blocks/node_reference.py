"""An entry in a cluster's list of nodes: the name of a saved node, a reference to one, a URL, or a node itself.

Only a name, a URL or a reference is stored, so no secret of a node is copied.
"""

from collections.abc import Iterable, Mapping
from typing import Annotated, Any
from uuid import UUID

from pydantic import BaseModel, BeforeValidator, ConfigDict, SerializationInfo, WithJsonSchema

from prefect_ollama.blocks.base import BLOCK_NAME
from prefect_ollama.blocks.errors import ConfigurationError
from prefect_ollama.blocks.node import OllamaNode
from prefect_ollama.blocks.node_block import NodeBlock
from prefect_ollama.blocks.node_kinds import NODE_KINDS
from prefect_ollama.blocks.nodes import NodeSpec, looks_like_address, names_block, node_url, short_name


class NodeReference(BaseModel):
    """A saved node, as the UI stores one that was picked from the list."""

    model_config = ConfigDict(frozen=True)

    block_document_id: UUID


Entry = str | NodeReference | NodeBlock


def _entry(value: Any) -> Any:
    # The form stores a block that was picked in this way.
    if isinstance(value, Mapping) and "$ref" in value:
        return NodeReference.model_validate(value["$ref"])
    if isinstance(value, NodeBlock):
        # A node that was changed since it was saved cannot be referenced: the saved one differs.
        return _reference_of(value) if value.name and value.unchanged else value
    if isinstance(value, NodeReference):
        return value
    if not isinstance(value, str) or not value.strip():
        raise ValueError("a node is the name of a saved node block, a URL, or such a block itself")
    text = value.strip()
    if names_block(text):
        return text
    if looks_like_address(text):
        return node_url(text)
    if not BLOCK_NAME.fullmatch(text):
        raise ValueError("it is neither a block's name (a-z, 0-9 and '-') nor a URL (http://host:11434)")
    return text


NodeEntry = Annotated[
    Entry,
    BeforeValidator(_entry),
    # The form offers saved nodes, and a field for a name or URL. It treats every picked block as one of the first
    # type in this list, so nodes of the other kind are named. With the block's type itself in the schema, Prefect
    # would store copies of the nodes with their secrets in clear.
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
    """Return the stored form of an entry: a name, a URL or a reference.

    Raises:
        ConfigurationError: It is a node that is not saved, and secrets are requested.
    """
    if isinstance(node, NodeReference):
        return {"$ref": {"block_document_id": str(node.block_document_id)}}
    if isinstance(node, NodeBlock):
        if info.context and info.context.get("include_secrets"):
            refuse_unsaved([node])
        return node.model_dump(mode=info.mode)
    return node


def refuse_unsaved(nodes: Iterable[Entry]) -> None:
    """Refuse entries that exist only in this process.

    Raises:
        ConfigurationError: There is such an entry.
    """
    for node in nodes:
        if isinstance(node, NodeBlock):
            raise ConfigurationError(
                f"The node {short_name(node.url)!r} of this cluster is not saved as it is here, and a cluster "
                "keeps names of nodes only.",
                state="The cluster was not saved.",
                remedy="Save the node first with `node.save(…)`, then make the cluster with it or its name.",
            )


def node_spec(entry: Entry) -> NodeSpec:
    """Return the node of an entry; a saved node is loaded from the Prefect server.

    Raises:
        ConfigurationError: Its block is missing or wrong, or the server cannot be reached.
    """
    if isinstance(entry, NodeBlock):
        return entry.to_spec()
    if isinstance(entry, NodeReference):
        return _load_reference(entry.block_document_id).to_spec()
    if names_block(entry):
        slug, _, name = entry.partition("/")
        kind = next(kind for kind in NODE_KINDS if kind.get_block_type_slug() == slug)
        return kind.load_saved(name).to_spec()
    if looks_like_address(entry):
        return NodeSpec.at(entry)
    return load_node(entry).to_spec(entry)


def load_node(name: str) -> NodeBlock:
    """Load the saved node of this name, of any kind. The call blocks, also in async code.

    Raises:
        ConfigurationError: No block or several blocks have this name, its values are wrong, or the Prefect server
            cannot be reached.
    """
    found = [node for kind in NODE_KINDS if (node := kind.find(name)) is not None]
    if len(found) > 1:
        both = " or ".join(repr(f"{kind.get_block_type_slug()}/{name}") for kind in NODE_KINDS)
        raise ConfigurationError(
            f"Several node blocks are named {name!r}.",
            state="Nothing was started.",
            remedy=f"Write {both}, or save one of them under another name.",
        )
    if found:
        return found[0]
    first, *others = (f"no {kind.get_block_type_name()} block" for kind in NODE_KINDS)
    raise ConfigurationError(
        f"There is {first} named {name!r}, and {' and '.join(others)}.",
        state="Nothing was started.",
        remedy=f"Make it in the Prefect UI (Blocks, +), or in Python with `OllamaNode(…).save(…)`. If {name!r} is a "
        f"host, write http://{name}:11434.",
    )


def _load_reference(block_document_id: UUID) -> NodeBlock:
    found = (kind.find(block_document_id) for kind in NODE_KINDS)
    block = next((node for node in found if node is not None), None)
    return OllamaNode.load_saved(block_document_id) if block is None else block


def _reference_of(node: NodeBlock) -> str:
    # A name alone means an Ollama node, so a node of another kind has its kind before the name.
    return node.name if isinstance(node, OllamaNode) else f"{node.get_block_type_slug()}/{node.name}"
