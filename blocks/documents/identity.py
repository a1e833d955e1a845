"""What makes the vectors of a table comparable. Pure values, no behaviour."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, fields
from typing import Any

from prefect_ollama.blocks.errors import ConfigurationError
from prefect_ollama.blocks.nodes import Fingerprint, full_name

CONTEXT = "num_ctx"


CONTEXT_SOURCE = "num_ctx_from"


NODES = "nodes"


# The chunker's version before its options, as tables of earlier versions have it.
_OWN_VERSION = re.compile(r"^v\d+ ")


@dataclass(frozen=True, slots=True)
class Identity:
    """What makes two vectors comparable; a table holds vectors of one identity only.

    Attributes:
        model: Name of the model, for people: the fingerprint decides.
        digest: Digest of the model's weights, for people too. It decides where a table has no fingerprint yet.
        dimension: Floats in a vector.
        document_prefix: Prompt put before each chunk.
        query_prefix: Prompt put before each question.
        options: Options that change vectors (`num_ctx`), as sorted pairs; empty where they are not known.
            `num_ctx_from` is `nodes` where nobody chose the context and it followed the nodes'.
        chunker: Options of the chunker. Its version is not compared: each document has its own. Tables of earlier
            versions have it before the options (`v2 target=…`).
        fingerprint: Canary vectors of the model; None in a table of an earlier version.
    """

    model: str
    digest: str
    dimension: int
    document_prefix: str = ""
    query_prefix: str = ""
    options: tuple[tuple[str, str], ...] = ()
    chunker: str = ""
    fingerprint: Fingerprint | None = None

    def __post_init__(self) -> None:
        if self.dimension < 1:
            raise ConfigurationError(f"A vector cannot have {self.dimension} dimensions.")
        object.__setattr__(self, "options", tuple(sorted((str(k), str(v)) for k, v in self.options)))

    @property
    def chosen_context(self) -> int | None:
        """The context in tokens that the user chose when the table was made; None if nobody did."""
        options = dict(self.options)
        return None if CONTEXT not in options or CONTEXT_SOURCE in options else int(options[CONTEXT])

    def differences(self, other: Identity) -> dict[str, tuple[Any, Any]]:
        """Return what differs, field by field, as (mine, other's).

        Where both have a fingerprint it decides, and name and digest are no difference by themselves. Where one has
        none, the digest decides, and the name if there is no digest.
        """
        differing = {
            each.name: (getattr(self, each.name), getattr(other, each.name))
            for each in fields(self)
            if getattr(self, each.name) != getattr(other, each.name)
        }
        if self.fingerprint is None or other.fingerprint is None:
            differing.pop("fingerprint", None)
            if (self.digest and "digest" not in differing) or full_name(self.model) == full_name(other.model):
                differing.pop("model", None)
        elif "fingerprint" not in differing:
            differing.pop("digest", None)
            differing.pop("model", None)
        elif full_name(self.model) == full_name(other.model):
            differing.pop("model", None)
        if same_cut(self.chunker, other.chunker):
            differing.pop("chunker", None)
        if "options" in differing and same_options(self.options, other.options):
            del differing["options"]
        return differing

    def to_json(self) -> str:
        """Return the identity as JSON, keys in order, without the fingerprint."""
        values = {each.name: getattr(self, each.name) for each in fields(self) if each.name != "fingerprint"}
        return json.dumps(values, sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> Identity:
        """Return the identity that `to_json` wrote."""
        values = json.loads(text)
        values["options"] = tuple((name, value) for name, value in values["options"])
        return cls(**values)


def context_options(chosen: int | None, settled: int | None) -> tuple[tuple[str, str], ...]:
    """Return the options of an identity for a context in tokens.

    Args:
        chosen: What the user asked for.
        settled: What nodes are asked for: the shortest of their contexts where the user chose none.
    """
    if chosen is not None:
        return ((CONTEXT, str(chosen)),)
    return () if settled is None else ((CONTEXT, str(settled)), (CONTEXT_SOURCE, NODES))


def same_cut(one: str, other: str) -> bool:
    """Return whether two chunkers have the same options, whatever their versions."""
    return _OWN_VERSION.sub("", one) == _OWN_VERSION.sub("", other)


def same_options(one: tuple[tuple[str, str], ...], other: tuple[tuple[str, str], ...]) -> bool:
    """Return whether vectors made with one set of options compare with those of the other.

    A context that was chosen has to stay. One that followed the nodes may change with them, or the table could not be
    used any more after a node came or went: no text is cut to it, and a text that is too long for it has no vector.
    """
    mine, others = dict(one), dict(other)
    contexts = mine.pop(CONTEXT, None), others.pop(CONTEXT, None)
    followed = mine.pop(CONTEXT_SOURCE, None), others.pop(CONTEXT_SOURCE, None)
    return mine == others and (None in contexts or contexts[0] == contexts[1] or followed == (NODES, NODES))
