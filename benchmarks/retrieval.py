"""How often the right page is found: our chunks against other ways to cut the same files, with the same model.

    uv run --with llama-index-core --with langchain-text-splitters --with "nltk<3.9.2" python -m benchmarks.retrieval

Every way cuts the PDFs of `samples/` into texts that know their pages. Each question of `samples/questions.jsonl`
is embedded with the embedded model, and so is every text; a text is right when it is of the file and of a page that
the question names. Printed are recall@5 (share of questions with a right text among the first five), MRR (mean of
1 / rank of the first right text), and by how much ours are ahead; then the same with a text being right only when
it also holds the phrase that answers the question.

    ours              `Parser` and `chunk_document` with their defaults, tokens counted by the model's tokenizer
    fixed size        the text of the whole file as bare PyMuPDF gives it, cut every 200 tokens, 30 of them twice
    LlamaIndex        `SentenceSplitter()` on the text of each page: 1,024 tokens, 200 of them twice
    LlamaIndex 200    the same with our sizes: 200 of the model's tokens, 30 of them twice
    LangChain         `RecursiveCharacterTextSplitter()` on the text of each page: 4,000 characters, 200 of them twice
    LangChain 200     the same with our sizes

The others read files as their PyMuPDF readers do, a text for each page. What is longer than the model's 512 tokens
is cut off when it is embedded, as Ollama does by default. Questions whose page is a scan are left out, for the
others have no OCR.
"""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pymupdf

from prefect_ollama.blocks.embedded._model import EmbeddingModel
from prefect_ollama.blocks.embedded.tokens import CONTEXT, count_tokens
from prefect_ollama.tasks.chunking import ChunkOptions, chunk_document
from prefect_ollama.tasks.parsing import ParseOptions, Parser

SAMPLES = Path(__file__).parent.parent / "samples"
TOKENS, TWICE = ChunkOptions().target_tokens, ChunkOptions().overlap_tokens
FIRST = 5

Vectors = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Passage:
    text: str
    file: str
    page_from: int
    page_to: int
    embedded: str = ""


@dataclass(frozen=True, slots=True)
class Question:
    text: str
    answer: str
    file: str
    pages: frozenset[int]
    language: str


Way = Callable[[Path], Iterator[Passage]]


def ours(parser: Parser) -> Way:
    def cut(file: Path) -> Iterator[Passage]:
        document = parser.parse(file, ParseOptions(ocr="off"))
        for chunk in chunk_document(document, ChunkOptions(), count_tokens, name=file.name):
            yield Passage(chunk.text, file.name, chunk.page_from, chunk.page_to, chunk.to_embed)

    return cut


def pages_of(file: Path) -> list[str]:
    with pymupdf.open(file) as document:
        return [page.get_text() for page in document]


def fixed_size(model: EmbeddingModel) -> Way:
    def cut(file: Path) -> Iterator[Passage]:
        pages = pages_of(file)
        whole = "\n".join(pages)
        ends = np.cumsum([len(page) + 1 for page in pages])
        offsets = [span for span in model.tokenizer._tokenizer.encode(whole).offsets if span != (0, 0)]
        for start in range(0, len(offsets), TOKENS - TWICE):
            taken = offsets[start : start + TOKENS]
            begin, end = taken[0][0], taken[-1][1]
            first, last = np.searchsorted(ends, [begin, end - 1], side="right") + 1
            yield Passage(whole[begin:end], file.name, int(first), int(last))

    return cut


def each_page(split: Callable[[str], list[str]]) -> Way:
    def cut(file: Path) -> Iterator[Passage]:
        for number, page in enumerate(pages_of(file), 1):
            for text in split(page):
                yield Passage(text, file.name, number, number)

    return cut


def peers(model: EmbeddingModel) -> dict[str, Way]:
    from langchain_text_splitters import RecursiveCharacterTextSplitter
    from llama_index.core.node_parser import SentenceSplitter

    sized = {"chunk_size": TOKENS, "chunk_overlap": TWICE}
    return {
        "LlamaIndex": each_page(SentenceSplitter().split_text),
        f"LlamaIndex {TOKENS}": each_page(
            SentenceSplitter(**sized, tokenizer=model.tokenizer.encode).split_text
        ),
        "LangChain": each_page(RecursiveCharacterTextSplitter().split_text),
        f"LangChain {TOKENS}": each_page(
            RecursiveCharacterTextSplitter(**sized, length_function=count_tokens).split_text
        ),
    }


def embed(model: EmbeddingModel, texts: list[str], pool: ThreadPoolExecutor) -> Vectors:
    def one(text: str) -> Vectors:
        ids = model.tokenizer.encode(text)
        return model.embed([*ids[: CONTEXT - 1], ids[-1]] if len(ids) > CONTEXT else ids)

    return np.stack(list(pool.map(one, texts)))


def plain(text: str) -> str:
    """Letters and digits alone, so that line breaks and hyphens make no difference."""
    return "".join(character for character in text.casefold() if character.isalnum())


def rank(passages: list[Passage], order: npt.NDArray[np.int64], question: Question, answered: bool) -> int:
    """Give the place of the first right passage, counted from 1; 0 where there is none."""
    for place, index in enumerate(order, 1):
        passage = passages[index]
        if (
            passage.file == question.file
            and any(passage.page_from <= page <= passage.page_to for page in question.pages)
            and (not answered or plain(question.answer) in plain(passage.text))
        ):
            return place
    return 0


def scores(ranks: list[int]) -> tuple[float, float]:
    """Recall@5 and MRR."""
    return (
        sum(0 < place <= FIRST for place in ranks) / len(ranks),
        sum(1 / place for place in ranks if place) / len(ranks),
    )


def main() -> None:
    options = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    options.add_argument(
        "--all-languages", action="store_true", help="ask in languages the model cannot read, too"
    )
    options.add_argument(
        "--misses", action="store_true", help="list the questions whose page ours do not find"
    )
    arguments = options.parse_args()

    lines = (SAMPLES / "questions.jsonl").read_text("utf-8").splitlines()
    labels = [label for label in map(json.loads, lines) if not label.get("ocr")]
    questions = [
        Question(
            label["question"], label["answer"], label["file"], frozenset(label["pages"]), label["language"]
        )
        for label in labels
        if arguments.all_languages or label["language"] == "en"
    ]
    files = sorted(SAMPLES.glob("*.pdf"))
    model = EmbeddingModel()
    with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool, Parser() as parser:
        asked = embed(model, [question.text for question in questions], pool)
        ways = {"ours": ours(parser), "fixed size": fixed_size(model), **peers(model)}
        print(f"{len(questions)} questions, {len(files)} files")
        print(f"{'':16}{'texts':>6}{'tokens':>8}{'':4}{'page':^28}{'':4}{'page and answer':^28}")
        print(f"{'':30}" + 2 * f"{f'recall@{FIRST}':>12}{'MRR':>7}{'ours ahead':>13}".ljust(32))
        own: list[tuple[float, float]] = []
        for name, way in ways.items():
            passages = [passage for file in files for passage in way(file)]
            vectors = embed(model, [passage.embedded or passage.text for passage in passages], pool)
            orders = np.argsort(-asked @ vectors.T, axis=1, kind="stable")
            row = f"{name:16}{len(passages):6}{np.mean([count_tokens(p.text) for p in passages]):8.0f}  "
            for answered in (False, True):
                ranks = [
                    rank(passages, order, question, answered)
                    for question, order in zip(questions, orders, strict=True)
                ]
                recall, mrr = scores(ranks)
                row += f"{recall:12.3f}{mrr:7.3f}"
                if name == "ours":
                    own.append((recall, mrr))
                    row += " " * 13
                    if arguments.misses:
                        missed = [
                            q for q, place in zip(questions, ranks, strict=True) if not 0 < place <= FIRST
                        ]
                        print(*(f"  missed: {q.file} {sorted(q.pages)} {q.text}" for q in missed), sep="\n")
                else:
                    mine = own[answered]
                    row += f"{f'{mine[0] - recall:+.3f} {mine[1] - mrr:+.3f}':>13}"
            print(row.rstrip(), flush=True)


if __name__ == "__main__":
    main()
