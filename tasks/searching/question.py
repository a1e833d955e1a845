"""A question is written as the table's texts are, before it is embedded."""

from __future__ import annotations

import unicodedata

from prefect_ollama.blocks.errors import ConfigurationError


def normalised(question: str) -> str:
    """Return a question with letters and accents composed (NFC), as those of all passages are, and trimmed.

    Models give other vectors for composed and decomposed letters, and keyboards write both. Words are compared in any
    case and spelling (`blocks.lance._words`), so nothing else is changed for them.

    Raises:
        ConfigurationError: It is empty.
    """
    text = unicodedata.normalize("NFC", question).strip()
    if not text:
        raise ConfigurationError("The question is empty.", state="Nothing was searched.")
    return text
