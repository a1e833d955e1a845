"""Without a chat model: the sentences of documents that are nearest to what each document is about, word for word."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from prefect_ollama.blocks.documents import CheckedSentence, Hit, Quote
from prefect_ollama.tasks.answering import VERBATIM, sentence_places
from prefect_ollama.tasks.dispatch import Dispatcher

# Sentences that are embedded at most: the embedded node embeds some fifty a second.
MOST_EMBEDDED: Final = 400

# Cosine from which two sentences say the same.
_SAME: Final = 0.9


def central_sentences(
    documents: Sequence[Sequence[Hit]], passages: tuple[Hit, ...], nodes: Dispatcher, most: int
) -> tuple[CheckedSentence, ...]:
    """Return sentences that are nearest to the mean of their document, in reading order, each as its own quote.

    Documents take turns, so that each has a sentence before any has a second one. Of very many sentences every n-th is
    looked at.

    Args:
        documents: The passages of each document, in reading order.
        passages: All of them in the same order, which the quotes name.

    Raises:
        ClusterError: No node works any more.
    """
    places = sentence_places(passages)
    # Evenly over all documents, so that the end of a long one counts as much as its beginning.
    places = [
        places[at] for at in np.linspace(0, len(places) - 1, min(len(places), MOST_EMBEDDED), dtype=int)
    ]
    texts = [passages[number - 1].text[start:end] for number, start, end in places]
    embedded = nodes.embed(texts)
    # Texts that no node can embed are left out, without an error.
    good = [at for at in range(len(places)) if at not in embedded.failures]
    owner = np.repeat(np.arange(len(documents)), [len(each) for each in documents])
    vectors: dict[int, NDArray[np.float32]] = {at: np.asarray(embedded.vectors[at]) for at in good}
    ranked: list[list[tuple[float, int]]] = []
    for document in range(len(documents)):
        own = [at for at in good if owner[places[at][0] - 1] == document]
        if own:
            mean = np.mean([vectors[at] for at in own], axis=0)
            mean /= np.linalg.norm(mean) or 1.0
            ranked.append(sorted(((float(vectors[at] @ mean), at) for at in own), key=lambda each: -each[0]))
    # In turns, so that a long document does not take the places of all the short ones.
    chosen: dict[int, float] = {}
    while len(chosen) < most and any(ranked):
        for candidates in ranked:
            while candidates and len(chosen) < most:
                score, at = candidates.pop(0)
                if all(float(vectors[at] @ vectors[other]) < _SAME for other in chosen):
                    chosen[at] = score
                    break
    return tuple(
        CheckedSentence(
            " ".join(texts[at].split()),
            (Quote.of(passages, *places[at], texts[at]),),
            supported=True,
            judged_by=VERBATIM,
            score=round(chosen[at], 4),
        )
        for at in sorted(chosen)
    )
