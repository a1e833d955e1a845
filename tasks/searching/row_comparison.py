"""Compare rows of a table with the vectors that nodes give for their texts."""

from dataclasses import dataclass, replace

from prefect_ollama.blocks.errors import TableError
from prefect_ollama.blocks.lance import Store
from prefect_ollama.blocks.nodes import VerifiedCluster, cosine, digits, full_name, least_cosine, server_of
from prefect_ollama.tasks.dispatch import Dispatcher, divide_long_words

# Rows of a table without a fingerprint that an ingest embeds again: among 96 real chunks 44 had other vectors by
# another version of Ollama, and half of these rows are chosen among those that a version can change.
ROWS_COMPARED = 24

# Rows that a question compares: fewer, because a person waits.
ROWS_COMPARED_BY_SEARCH = 8


@dataclass(frozen=True, slots=True)
class RowsCompared:
    """The comparison of rows of a table with the vectors that nodes give for their texts.

    Attributes:
        count: Number of rows that were embedded again.
        wrong: Number of these with another vector.
        cosine: Lowest cosine.
        least: Lowest cosine that counts as equal.
        only_marked: Whether all rows with another vector have characters that are not ASCII.
    """

    count: int
    wrong: int = 0
    cosine: float = 1.0
    least: float = 0.0
    only_marked: bool = False


def compare_rows(store: Store, dispatcher: Dispatcher, count: int) -> RowsCompared:
    """Embed some rows of a table again, and compare the vectors.

    This shows for a table without a fingerprint whether the nodes give its vectors.

    Raises:
        ClusterError: No node works any more.
    """
    reference = dispatcher.cluster.reference
    # Earlier versions did not divide long words, so their vectors of such texts do not show the model.
    rows = [(text, vector) for text, vector in store.sample(count) if divide_long_words(text) == text]
    least = least_cosine(reference, replace(reference, digest=store.identity.digest, version=""))
    # Vectors of another length differ; they have no cosine.
    if rows and len(rows[0][1]) != reference.dimension:
        return RowsCompared(len(rows), len(rows), 0.0, least)
    embedded = dispatcher.embed([text for text, _ in rows])
    cosines = {
        text: cosine(stored, embedded.vectors[at])
        for at, (text, stored) in enumerate(rows)
        if at not in embedded.failures
    }
    # `not >=`, because the cosine of a damaged vector is NaN.
    wrong = [text for text, value in cosines.items() if not value >= least]
    return RowsCompared(
        count=len(cosines),
        wrong=len(wrong),
        cosine=min(cosines.values(), default=1.0),
        least=least,
        only_marked=bool(wrong) and not any(text.isascii() for text in wrong),
    )


def other_vectors(
    store: Store, cluster: VerifiedCluster, rows: RowsCompared, *, state: str = "The table was not changed."
) -> TableError:
    """Return the error of nodes that give other vectors for rows of a table than are stored."""
    # From the most certain cause to the least: only the dimension and the name are facts, the rest is a guess.
    found, reference = store.identity, cluster.reference
    if found.dimension != reference.dimension:
        cause = f"another model ({reference.dimension} dimensions, not {found.dimension})"
    elif rows.only_marked:
        now = f" (it is {reference.version} now)" if reference.version else ""
        ollama = not reference.version or server_of(reference.version).startswith("Ollama")
        what = "version of Ollama" if ollama else "server or version"
        cause = f"another {what}{now}: only texts with quotes, dashes, accents or other scripts differ"
    elif rows.cosine >= 0.9:
        cause = "another quantization"
    elif full_name(found.model) == full_name(reference.model):
        cause = f"another model under the name {reference.model!r}"
    else:
        cause = f"another model ({reference.model!r}, not {found.model!r})"
    return TableError(
        f"The nodes give other vectors than table {store.spec.table!r} holds, for {rows.wrong} of {rows.count} of its "
        f"rows (cosine {digits(rows.cosine)}, at least {rows.least:g} expected): {cause}.",
        state=state,
        remedy="Go back to the model and the version of the server that the table was made with, or embed all its "
        "documents again with `re_embed` (`prefect-ollama re-embed`).",
    )
