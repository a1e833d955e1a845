"""Compare fingerprints: whether two nodes have one model, and if not, why.

Measured as 1 - cosine, over the canaries, for all-MiniLM-L6-v2 (tests/test_fingerprint.py repeats it):

| the same weights in F16, on a CPU against                                   | 1 - cosine       |
|------------------------------------------------------------------------------|------------------|
| F32 weights (the embedded model)                                             | up to 0.0000004  |
| a GPU that rounds every product to F16, simulated                            | up to 0.0000005  |
| a GPU that also adds up in F16, simulated                                    | up to 0.0000025  |
| hardware that computes in BF16, simulated                                    | up to 0.00003    |
| Q8_0 weights, single canaries                                                | from 0.00014 on  |
| Q8_0 weights, the canary that differs most of any four                       | from 0.0002 on   |

Real servers gave 0.0003 to 0.0005 for Q8_0, and under 0.0000001 for equal weights on CPUs of one version. Quantized
weights give up to 0.0005 to themselves on other hardware, because CPUs quantize what they multiply with, too.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

import numpy as np

from prefect_ollama.blocks.errors import NodeRefused
from prefect_ollama.blocks.nodes.canaries import LONG_TEXTS, LONG_WORD, SCRIPTS, SHORT, canary_name, in_words
from prefect_ollama.blocks.nodes.fingerprint import Fingerprint, server_of
from prefect_ollama.blocks.nodes.spec import full_name

if TYPE_CHECKING:
    # Imported for types only, for the reason in `fingerprint`.
    from prefect_ollama.blocks.nodes.embed_response import Vectors

# Least cosine where digest and version agree: only the hardware can differ then.
SAME_BUILD: Final = 0.9999

# Lowest cosine for nodes of one build that also report quantized weights.
SAME_QUANTIZED: Final = 0.999

# Least cosine where digest or version differ or are unknown.
SAME_VECTORS: Final = 0.99995

# Lowest cosine if a digest is unknown and both nodes name the same quantization of the weights. A llama-server (of
# October 2026, on one CPU) gives a short text another vector if it is alone in its request, with a cosine down to
# 0.99978 for Q8_0, Q5_1 and Q4_0: from some tokens on it multiplies in another way. F16 against Q8_0 has 0.99923 there
# over all canaries, and 0.9996 over those of `SHORT`. tests/test_llama_server.py has the vectors.
SAME_QUANTIZED_VECTORS: Final = 0.9997

# Lowest cosine of a text in a script that both servers tokenize in the same way. Equal tokens give 0.9995 and more,
# also with quantized weights on other hardware. Unlike tokens give 0.78 (Hangul), 0.88 (Bengali, Tamil), 0.97
# (Devanagari).
SAME_TOKENS: Final = 0.999

# Least cosine of two quantizations of one model; Q4_0 gave 0.92 on a real server, other models give 0.5 and less.
_QUANTIZED: Final = 0.9

# Names of quantizations as GGUF has them: Q8_0, Q4_K_M, IQ4_NL, MXFP4; F16, BF16 and F32 are none.
_QUANTIZATION: Final = re.compile("[IT]?Q[0-9]|(MX|NV)FP4", re.IGNORECASE)

# By the name under which the vector of a script's text is kept.
_SCRIPT_OF: Final = {canary_name(script.text): script.name for script in SCRIPTS}

# Canaries of ASCII letters, digits and full stops, which all tokenizers of a model cut alike.
_PLAIN: Final = frozenset(map(canary_name, (SHORT[3], LONG_WORD, *(text for _, text in LONG_TEXTS))))


@dataclass(frozen=True, slots=True)
class Comparison:
    """The comparison of two fingerprints.

    Attributes:
        cosine: The lowest cosine of the common canaries; 0 if none can be compared.
        least: The lowest allowed one.
        cause: Why they differ, as far as known ("another quantization (Q8_0, not F16)"); empty if they are the same.
        scripts: Scripts in which they differ though they are the same, with the cosine of a text; only of those that
            both measured.
    """

    cosine: float
    least: float
    cause: str = ""
    scripts: Mapping[str, float] = field(default_factory=dict)

    @property
    def same(self) -> bool:
        """Whether the fingerprints are of one model."""
        return not self.cause

    @property
    def likeness(self) -> str:
        """The result for people: `cosine 0.9995, at least 0.99995 expected`."""
        return f"cosine {digits(self.cosine)}, at least {self.least:g} expected"


def compare(found: Fingerprint, known: Fingerprint) -> Comparison:
    """Compare the vectors of a node with known ones; the cause names the found model before the known one."""
    least = least_cosine(found, known)
    if found.dimension != known.dimension:
        return Comparison(0.0, least, f"another model ({found.dimension} dimensions, not {known.dimension})")
    cosines = {
        name: cosine(vector, known.vectors[name])
        for name, vector in found.vectors.items()
        if name in known.vectors
    }
    scripts = {_SCRIPT_OF[name]: cosines.pop(name) for name in _SCRIPT_OF if name in cosines}
    if not cosines:
        return Comparison(0.0, least, "other canary texts, of another version of prefect-ollama")
    worst = min(cosines.values())
    if worst >= least:
        unlike = {script: value for script, value in scripts.items() if value < SAME_TOKENS}
        return Comparison(worst, least, scripts=unlike)
    plain = min((value for name, value in cosines.items() if name in _PLAIN), default=worst)
    # Only texts with marks differ, so the weights are the same and the tokenizers are not.
    if plain >= _QUANTIZED > worst:
        return Comparison(worst, least, _other_tokenizer(found, known))
    if worst >= _QUANTIZED:
        return Comparison(worst, least, _other_weights(found, known))
    if full_name(found.model) == full_name(known.model):
        return Comparison(worst, least, f"another model under the name {found.model!r}")
    return Comparison(worst, least, f"another model{_instead(found, known, 'model')}")


def differs(
    node: str,
    found: Fingerprint,
    reference: Fingerprint,
    whose: str = "the other nodes'",
    *,
    any_digest: bool,
) -> NodeRefused | None:
    """Return the error of a node that must not work; None if it may work.

    Args:
        whose: Owner of the reference, for the error.
        any_digest: Whether the digests may differ if the vectors agree.
    """
    result = compare(found, reference)
    if not result.same:
        return NodeRefused(
            f"gives other vectors than {whose} ({result.likeness}): {result.cause}.",
            node=node,
            model=found.build,
            remedy="Install the same model and the same version of its server there, or remove the node.",
        )
    if any_digest:
        return None
    unlike = f", except for {unlike_scripts(result.scripts)}" if result.scripts else ""
    though = f", though its vectors agree ({result.likeness}{unlike})"
    return other_digest(node, found.build, reference.digest, though=though)


def other_digest(
    node: str, build: tuple[str, str], digest: str, model: str = "model", *, though: str = ""
) -> NodeRefused | None:
    """Return the error of a node whose build (digest and version) has another digest; None if one is unknown."""
    if not build[0] or not digest or build[0] == digest:
        return None
    return NodeRefused(
        f"has another build of the {model} (digest {build[0][:12]}, not {digest[:12]}){though}.",
        node=node,
        model=build,
        # A pull cannot help an embedded node, or an Ollama node beside it.
        remedy="Name a saved cluster block with 'Accept other builds', which takes nodes whose vectors agree, or pull "
        "the model again where Ollama serves it; the build of an embedded node always differs from Ollama's.",
    )


def majority(prints: Sequence[Fingerprint]) -> Fingerprint:
    """Return the fingerprint of most nodes; if several are equally frequent, that of the first configured node."""

    def followers(candidate: Fingerprint) -> int:
        return sum(
            compare(each, candidate).same and not other_digest("", each.build, candidate.digest)
            for each in prints
        )

    return max(prints, key=followers)  # max takes the first of equals


def least_cosine(found: Fingerprint, known: Fingerprint) -> float:
    """Return the lowest cosine for vectors of one model, by the descriptions of the two builds."""
    quantized = _quantized_alike(found, known)
    if not found.digest or not known.digest:
        return SAME_QUANTIZED_VECTORS if quantized else SAME_VECTORS
    if found.build != known.build or not all(found.build):
        return SAME_VECTORS
    return SAME_QUANTIZED if quantized else SAME_BUILD


def cosine(a: Vectors, b: Vectors) -> float:
    """Return the cosine of two vectors, computed in 64 bits.

    In 32 bits it is good for seven digits only; and a node's vectors have norm 1 within one percent, no better.
    """
    x, y = a.astype(np.float64), b.astype(np.float64)
    return float(x @ y / np.sqrt((x @ x) * (y @ y)))


def digits(value: float) -> str:
    """Return a cosine as text, with enough digits to distinguish it from 1."""
    return f"{value:.4f}" if value < 0.999 else f"{value:.7f}"


def unlike_scripts(scripts: Mapping[str, float]) -> str:
    """Return scripts in which two models differ, for people: `texts in Hangul and Tamil (cosine 0.7752)`."""
    return f"texts in {in_words(scripts)} (cosine {digits(min(scripts.values()))})"


def _quantized_alike(found: Fingerprint, known: Fingerprint) -> bool:
    return found.quantization == known.quantization and bool(_QUANTIZATION.match(found.quantization))


def _other_weights(found: Fingerprint, known: Fingerprint) -> str:
    if _quantized_alike(found, known):
        servers = (server_of(found.version), server_of(known.version))
        version = f" another version of the server ({servers[0]}, not {servers[1]}),"
        return (
            f"other weights,{version if all(servers) and len(set(servers)) > 1 else ''} or other hardware for the same "
            f"ones (both say {found.quantization}, and other hardware multiplies quantized weights in another way)"
        )
    return f"another quantization{_instead(found, known, 'quantization')}"


def _other_tokenizer(found: Fingerprint, known: Fingerprint) -> str:
    if not all(server_of(each.version).startswith("Ollama") for each in (found, known) if each.version):
        servers = tuple(server_of(each.version) for each in (found, known))
        return (
            f"another server or version{f' ({servers[0]}, not {servers[1]})' if all(servers) else ''}: it tokenizes "
            "quotes, dashes, accents or symbols in another way"
        )
    versions = _instead(found, known, "version")
    if not versions and found.version:
        versions = f" (both say {found.version})"
    return (
        f"another version of Ollama{versions}: it tokenizes quotes, dashes, accents or symbols in another way"
    )


def _instead(found: Fingerprint, known: Fingerprint, what: str) -> str:
    """Return ` (Q8_0, not F16)`; empty if they are the same or one is unknown."""
    mine, other = getattr(found, what), getattr(known, what)
    return f" ({mine}, not {other})" if mine and other and mine != other else ""
