"""Normalise a question like the texts of the table, before it is embedded."""

import unicodedata
from typing import Final

from prefect_ollama.blocks.errors import ConfigurationError, PrefectOllamaError, TextTooLong

# The state in errors that come before a search.
NOT_SEARCHED: Final = "Nothing was searched."


def normalised(question: str) -> str:
    """Return a question in Unicode NFC, like all passages, without spaces at its ends.

    Models give other vectors for composed and decomposed letters, and keyboards write both. The search by words ignores
    case and accents (`blocks.lance._words`), so it needs no other change.

    Raises:
        ConfigurationError: It is empty.
    """
    text = unicodedata.normalize("NFC", question).strip()
    # Nodes refuse an empty text, each with a message of its own.
    if not text:
        raise ConfigurationError("The question is empty.", state=NOT_SEARCHED)
    return text


def about_question(error: PrefectOllamaError) -> PrefectOllamaError:
    """Return the error of a question that was not embedded; a question cannot be split like a text of a document."""
    if not isinstance(error, TextTooLong):
        return error
    remedy = "Ask a shorter question, or search by words alone (mode `text`)."
    return TextTooLong(error.why, text=error.text, state=error.state, remedy=remedy)
