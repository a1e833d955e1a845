"""The prompts with which well-known embedding models were trained, in one table.

A model that was trained with prompts has worse results without them, and vectors with different prompts are not
comparable. The prompts are found by the model's name, and users can set others.
"""

import re
from typing import Final, NamedTuple


class Prefixes(NamedTuple):
    """The texts before a document and before a question, with spaces at their end.

    Attributes:
        document: Before every chunk.
        query: Before every question.
    """

    document: str = ""
    query: str = ""


NONE: Final = Prefixes()
_PASSAGES: Final = "Represent this sentence for searching relevant passages: "
_TASK: Final = "Instruct: Given a web search query, retrieve relevant passages that answer the query\nQuery: "

# The first pattern that is found in the name counts. `(?<![a-z0-9])` matches the beginning of a word.
_TABLE: Final[tuple[tuple[str, Prefixes], ...]] = (
    # Nussbaum et al. 2024, section 4.4: https://arxiv.org/abs/2402.01613
    (r"nomic-embed-text", Prefixes("search_document: ", "search_query: ")),
    # https://www.mixedbread.com/docs/models/embedding/mxbai-embed-large-v1
    (r"mxbai-embed", Prefixes(query=_PASSAGES)),
    # Yu et al. 2024: https://arxiv.org/abs/2412.04506; code: https://github.com/Snowflake-Labs/arctic-embed
    (r"snowflake-arctic-embed(2|-[lm]-v2)", Prefixes(query="query: ")),
    # Merrick et al. 2024: https://arxiv.org/abs/2405.05374
    (r"snowflake-arctic-embed", Prefixes(query=_PASSAGES)),
    # bge-m3 needs none: https://github.com/FlagOpen/FlagEmbedding (FAQ: instructions for queries)
    (r"bge-m3", NONE),
    (r"(?<![a-z0-9])bge-(small|base|large)(-en|$)", Prefixes(query=_PASSAGES)),
    (r"(?<![a-z0-9])bge-(small|base|large)-zh", Prefixes(query="为这个句子生成表示以用于检索相关文章：")),
    # Wang et al. 2024, with instructions: https://arxiv.org/abs/2401.00368, https://arxiv.org/abs/2402.05672
    (r"(?<![a-z0-9])e5-mistral|(?<![a-z0-9])e5-large-instruct", Prefixes(query=_TASK)),
    # Wang et al. 2022: https://arxiv.org/abs/2212.03533
    (r"(?<![a-z0-9])e5-(small|base|large)", Prefixes("passage: ", "query: ")),
    # Zhang et al. 2025: https://arxiv.org/abs/2506.05176; code: https://github.com/QwenLM/Qwen3-Embedding
    (r"qwen3-embedding", Prefixes(query=_TASK)),
    # https://ai.google.dev/gemma/docs/embeddinggemma/model_card (prompt instructions)
    (r"embeddinggemma", Prefixes("title: none | text: ", "task: search result | query: ")),
)


def prefixes_of(model: str) -> Prefixes:
    """Return the prompts of a model by its name; empty prompts if it needs none or is not known.

    Args:
        model: Ollama's name, with or without a namespace before it and a tag after it.
    """
    name = model.lower().rsplit("/", 1)[-1].split(":", 1)[0]
    return next((prefixes for pattern, prefixes in _TABLE if re.search(pattern, name)), NONE)
