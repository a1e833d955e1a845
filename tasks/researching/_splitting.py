"""Split a question into parts that can be researched at the same time."""

from typing import Final

from prefect_ollama.blocks.nodes import json_object, json_request
from prefect_ollama.tasks.answering import answer_room
from prefect_ollama.tasks.dispatch import Chatting

# Maximum characters of a part: a longer text is not a question.
_PART_CHARACTERS: Final = 500
_TOKENS: Final = 512

_INSTRUCTIONS: Final = """You split a question into smaller questions, which are then looked up in documents one by one.
The user message is JSON with the question and the number of parts at most.
Answer with JSON: a list of questions in the language of the question. Each can be understood without the others and \
names what it asks about. Together they ask for all that the question asks for, and for nothing else. Use few parts: \
a question about one thing has one part, the question itself. Do not answer anything. The form: \
{"questions": ["…"]}."""


def split_question(question: str, chat: Chatting, most: int) -> tuple[str, ...]:
    """Return the parts of a question, different from each other; the question itself where no model gives any."""
    if most == 1:
        return (question,)
    content, model = {"question": question, "parts": most}, chat.chat.model
    part = {"type": "string", "maxLength": _PART_CHARACTERS}
    schema = json_object(questions={"type": "array", "maxItems": most, "items": part})
    request = json_request(_INSTRUCTIONS, content, schema, model, answer_room(model, _TOKENS))
    (answer,) = chat.ask([request], urgent=True).answers
    said = () if answer is None else answer.value["questions"]
    # Small models repeat a question with other capitals; each part costs a search, a draft and two rounds of checks.
    parts: dict[str, str] = {}
    # A part of the greatest length was cut by its node.
    for text in (" ".join(each.split()) for each in said if len(each) < _PART_CHARACTERS):
        if text:
            parts.setdefault(text.casefold(), text)
    return tuple(parts.values())[:most] or (question,)
