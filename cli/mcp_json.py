"""The JSON of the MCP server's tools: passages, quotes and documents, as short as an assistant needs them."""

from typing import Any

from prefect_ollama.blocks.documents import CheckedAnswer, CheckedSentence, Chunk, Document, Hit
from prefect_ollama.tasks.searching import described


def hit_json(hit: Hit) -> dict[str, Any]:
    """Return a passage that a search found."""
    return {
        "passage": _passage_id(hit),
        "document": hit.path,
        "source": hit.source,
        "title": hit.title,
        "pages": [hit.page_from, hit.page_to],
        "printed_pages": [each for each in (hit.page_label_from, hit.page_label_to) if each],
        "heading": hit.heading,
        # More digits cost tokens, and say nothing.
        "score": round(hit.score, 4),
        "text": hit.text,
        "also_in": [{"document": each.path, "page": each.page_from} for each in hit.also_in],
    }


def sentence_json(answer: CheckedAnswer, sentence: CheckedSentence) -> dict[str, Any]:
    """Return a sentence of an answer, with its quotes."""
    quotes = [
        {
            "text": quote.text,
            "document": quote.path,
            "pages": [quote.page_from, quote.page_to],
            "passage": _passage_id(answer.passages[quote.passage - 1]),
        }
        for quote in sentence.quotes
    ]
    return {"text": sentence.text, "quotes": quotes}


def _passage_id(hit: Hit) -> str:
    return f"{hit.doc_id}:{hit.position}"


def passage_json(doc_id: str, chunk: Chunk) -> dict[str, Any]:
    """Return a passage of a document."""
    return {
        "passage": f"{doc_id}:{chunk.position}",
        "pages": [chunk.page_from, chunk.page_to],
        "heading": chunk.heading,
        "text": chunk.text,
    }


def document_json(row: Document) -> dict[str, Any]:
    """Return a document of the table, without its passages."""
    plain = described(row)
    kept = ("source", "title", "author", "pages", "chunks", "status", "reason", "file")
    return {"document": row.path, **{key: plain[key] for key in kept}, "day": str(plain["day"])}
