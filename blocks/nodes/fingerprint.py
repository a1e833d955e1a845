"""What identifies a model: the vectors that it computes for the canary texts.

Names, digests and versions say what a model should be. Digest, version and quantization are kept with the vectors, and
only explain a difference (`comparison`).
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from hashlib import blake2b
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from prefect_ollama.blocks.nodes.canaries import canary_name

if TYPE_CHECKING:
    # This import loads the HTTP client, which takes a fifth of a second, and a search by words does not need it.
    from prefect_ollama.blocks.nodes.embed_response import Vectors

# Servers other than Ollama that name themselves, perhaps without a version.
SERVERS: Final = frozenset({"llama.cpp", "vLLM", "TEI"})

# The embedded node's version, before that of this package (`blocks/embedded/_app.py`).
EMBEDDED: Final = "0.0.0+prefect-ollama."


@dataclass(frozen=True, eq=False)
class Fingerprint:
    """The vectors of canary texts, with the node's description of its model.

    Two are equal if they have one id. `measured` gives an id. If the vectors are those of a known fingerprint, its id
    is used instead (`known_as`).

    Attributes:
        id: Its name, 16 hex digits.
        vectors: By the canary's name, float32 of shape (dimension,).
        model: Name of the requested model.
        digest: SHA-256 of the model's manifest; empty if unknown.
        version: Version of the server, with its name if that is not Ollama; empty if unknown.
        quantization: Of the weights ("F16", "Q8_0"); empty if unknown.

    Raises:
        ValueError: There is no vector, or they differ in length.
    """

    id: str
    vectors: Mapping[str, Vectors]
    model: str = ""
    digest: str = ""
    version: str = ""
    quantization: str = ""

    def __post_init__(self) -> None:
        if len({vector.shape for vector in self.vectors.values()}) != 1:
            raise ValueError("a fingerprint needs vectors of one length")

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Fingerprint) and other.id == self.id

    def __hash__(self) -> int:
        return hash(self.id)

    def __repr__(self) -> str:
        return f"{self.id} ({', '.join(self.says) or 'nothing known of it'})"

    @classmethod
    def measured(cls, texts: Sequence[str], vectors: Vectors, **says: str) -> Fingerprint:
        """Return the fingerprint of canary texts' vectors, float32 of shape (texts, dimension)."""
        named = {
            canary_name(text): np.asarray(vector, np.float32)
            for text, vector in zip(texts, vectors, strict=True)
        }
        return cls(blake2b(vectors.tobytes(), digest_size=8).hexdigest(), named, **says)

    @property
    def dimension(self) -> int:
        """Length of a vector."""
        return len(next(iter(self.vectors.values())))

    @property
    def build(self) -> tuple[str, str]:
        """Digest and version."""
        return self.digest, self.version

    @cached_property
    def says(self) -> tuple[str, ...]:
        """The description of the model, for people."""
        known = (
            self.model,
            self.quantization,
            self.digest and f"digest {self.digest[:12]}",
            self.version and server_of(self.version),
        )
        return tuple(each for each in known if each)

    @cached_property
    def measured_id(self) -> str:
        """A name of the vectors themselves, also where the id is that of a known fingerprint."""
        names = sorted(self.vectors)
        vectors = b"".join(name.encode() + self.vectors[name].tobytes() for name in names)
        return blake2b(vectors, digest_size=8).hexdigest()

    def canary(self, text: str) -> Vectors:
        """Return the vector of a canary text, shape (dimension,).

        Raises:
            KeyError: It was not measured.
        """
        return self.vectors[canary_name(text)]

    def comparable(self, other: Fingerprint) -> bool:
        """Return whether the two have a canary in common. Another version of this package may have others."""
        return not self.vectors.keys().isdisjoint(other.vectors)

    def known_as(self, other: Fingerprint) -> Fingerprint:
        """Return these vectors under the id of an equal fingerprint."""
        return replace(self, id=other.id)

    def to_json(self) -> str:
        """Return the fingerprint as JSON. Vectors are kept in 16 bits, which changes a cosine by some 0.00000002."""
        return json.dumps(
            {
                "id": self.id,
                "model": self.model,
                "digest": self.digest,
                "version": self.version,
                "quantization": self.quantization,
                "vectors": {
                    name: base64.b64encode(vector.astype("<f2").tobytes()).decode()
                    for name, vector in self.vectors.items()
                },
            }
        )

    @classmethod
    def from_json(cls, text: str | bytes) -> Fingerprint:
        """Return the fingerprint that `to_json` wrote.

        Raises:
            ValueError: It is not one.
        """
        try:
            values: dict[str, Any] = json.loads(text)
            vectors = {
                str(name): _checked(np.frombuffer(base64.b64decode(packed, validate=True), "<f2"))
                for name, packed in values["vectors"].items()
            }
            says = {name: str(values[name]) for name in ("model", "digest", "version", "quantization")}
            return cls(str(values["id"]), vectors, **says)
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"no fingerprint ({error!r})") from error


def server_of(version: str) -> str:
    """Return name and version of a server for people; a version without a name is Ollama's, also in old tables.

    The embedded node answers as Ollama does, with a version that names this package.
    """
    if version.startswith(EMBEDDED):
        return f"embedded node {version.removeprefix(EMBEDDED)}"
    return version if not version or " " in version or version in SERVERS else f"Ollama {version}"


def _checked(vector: NDArray[np.float16]) -> Vectors:
    # 16 bits change a norm by less than a thousandth. Any other norm shows other data.
    norm = float(np.linalg.norm(vector.astype(np.float64)))
    if not len(vector) or not 0.9 < norm < 1.1:  # NaN is refused too
        raise ValueError("a vector of a fingerprint is not of norm 1")
    return vector.astype(np.float32)
