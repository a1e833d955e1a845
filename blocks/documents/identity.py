"""The identity of vectors: only vectors of one identity can be compared."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, fields
from typing import Any

from prefect_ollama.blocks.errors import ConfigurationError
from prefect_ollama.blocks.nodes import Fingerprint, full_name

# Names of options in `Identity.options`, and the value of the second one, see there. Tables store them.
CONTEXT = "num_ctx"
CONTEXT_SOURCE = "num_ctx_from"
NODES = "nodes"

# The chunker's version, which tables of earlier versions have before its options.
_OWN_VERSION = re.compile(r"^v\d+ ")


@dataclass(frozen=True, slots=True)
class Identity:
    """The identity of the vectors in a table. All of them have the same one.

    Attributes:
        model: Name of the model, for people. The fingerprint decides.
        digest: Digest of the model's weights. It decides only for a table without a fingerprint.
        dimension: Floats in a vector.
        document_prefix: Prompt before each chunk.
        query_prefix: Prompt before each question.
        options: Options that change vectors (`num_ctx`), as sorted pairs; empty if unknown. `num_ctx_from` is `nodes`
            if the context is that of the nodes, because nobody chose one.
        chunker: Options of the chunker. Its version is not compared, because each document stores its own. Tables of
            earlier versions have it before the options (`v2 target=…`).
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
        # Sorted texts, so that neither their order nor a way through JSON makes another identity.
        object.__setattr__(self, "options", tuple(sorted((str(k), str(v)) for k, v in self.options)))

    @property
    def chosen_context(self) -> int | None:
        """The context in tokens that the user chose for the table; None without a choice."""
        options = dict(self.options)
        return None if CONTEXT not in options or CONTEXT_SOURCE in options else int(options[CONTEXT])

    def differences(self, other: Identity) -> dict[str, tuple[Any, Any]]:
        """Return the fields that differ, each with the value here and the other one.

        If both identities have a fingerprint, only the fingerprints are compared. If not, the digests are compared, or
        the names if a digest is missing.
        """
        differing = {
            each.name: (getattr(self, each.name), getattr(other, each.name))
            for each in fields(self)
            if getattr(self, each.name) != getattr(other, each.name)
        }
        # Tables of earlier versions have no fingerprint, and names of models are not enough to compare vectors.
        if self.fingerprint is None or other.fingerprint is None:
            differing.pop("fingerprint", None)
            if (self.digest and "digest" not in differing) or full_name(self.model) == full_name(other.model):
                differing.pop("model", None)
        # The vectors are the same, so name and digest only describe the model.
        elif "fingerprint" not in differing:
            differing.pop("digest", None)
            differing.pop("model", None)
        # The vectors differ under one name, so the fingerprint is reported as the difference.
        elif full_name(self.model) == full_name(other.model):
            differing.pop("model", None)
        if same_cut(self.chunker, other.chunker):
            differing.pop("chunker", None)
        if "options" in differing and same_options(self.options, other.options):
            del differing["options"]
        return differing

    def to_json(self) -> str:
        """Return the identity as JSON, keys in order, without the fingerprint."""
        # Tables keep the fingerprint apart, where it can be changed in place (`lance._schema.MODEL_KEY`).
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
        chosen: The context that the user chose.
        settled: The context of requests. If the user chose no context, it is the shortest context of the nodes.
    """
    if chosen is not None:
        return ((CONTEXT, str(chosen)),)
    return () if settled is None else ((CONTEXT, str(settled)), (CONTEXT_SOURCE, NODES))


def same_cut(one: str, other: str) -> bool:
    """Return whether two chunkers have the same options; their versions may differ."""
    return _OWN_VERSION.sub("", one) == _OWN_VERSION.sub("", other)


def same_options(one: tuple[tuple[str, str], ...], other: tuple[tuple[str, str], ...]) -> bool:
    """Return whether vectors with these two sets of options can be compared.

    A chosen context must stay. A context that follows the nodes may change, because otherwise a table could not be used
    after a node was added or removed. No text is cut to the context, and a text that is longer has no vector.
    """
    mine, others = dict(one), dict(other)
    contexts = mine.pop(CONTEXT, None), others.pop(CONTEXT, None)
    followed = mine.pop(CONTEXT_SOURCE, None), others.pop(CONTEXT_SOURCE, None)
    return mine == others and (None in contexts or contexts[0] == contexts[1] or followed == (NODES, NODES))
