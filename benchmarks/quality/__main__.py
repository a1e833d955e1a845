"""How well passages, documents and tables are found, on sets that others made.

    uv run --with llama-index-core --with langchain-text-splitters --with "nltk<3.9.2" \\
        python -m benchmarks.quality --data FOLDER

FOLDER is one set, or holds a folder for each. `benchmarks/README.md` says where to get them.

    reports       PDFs and `questions.jsonl` (question, file, pages), as FinanceBench. Printed is the share of
                  questions with an evidence page among the first 1, 5, 10 and 20 passages and the mean reciprocal
                  rank (of 20): over all files, then with the right file given.
    abstracts     `corpus.jsonl.gz` (id, title, text) and `questions.jsonl` (question, relevant), as SciFact. Printed
                  are nDCG@10 and recall@10.
    tables        PDFs and `NAME-str.xml`, as ICDAR 2013. Printed are precision, recall and F1 of the relations
                  between neighbouring cells, and the mean F1 of the documents.

Texts go through the embedded model as a node, the HTTP client, the table and its search. The other splitters get the
text of each page as their PyMuPDF readers give it, and the same node, table and search. Vectors are kept in a
file, so that a second run embeds nothing.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import get_args

from benchmarks.quality import tables
from benchmarks.quality.passages import Passage, build_table, others, ours
from benchmarks.quality.ranking import FIRST, document_scores, page_ranks, shares
from benchmarks.quality.sets import Abstracts, Reports, TablePages, find_sets
from benchmarks.quality.vectors import Embedder
from prefect_ollama.blocks.lance._search import Mode
from prefect_ollama.tasks.parsing import Parser

MODES: tuple[Mode, ...] = get_args(Mode)


def measure_reports(
    found: Reports, parser: Parser, embedder: Embedder, ours_only: bool, misses: bool
) -> None:
    """Print the page ranks of ours and of the other splitters."""
    print(f"\n{found.name}: {len(found.questions)} questions, {len(found.files)} files")
    heads = "".join(f"{f'@{first}':>7}" for first in FIRST) + f"{'MRR':>7}"
    print(f"{'':16}{'passages':>9}{'tokens':>7} {'by':8}{'all files':^35}   {'right file given':^35}")
    print(f"{'':41}{heads}   {heads}")
    splitters = {"ours": ours(parser, embedder)} | ({} if ours_only else others(embedder))
    for name, splitter in splitters.items():
        with TemporaryDirectory() as place:
            split = [(file.name, list(splitter(file))) for file in found.files]
            tokens = [embedder.count(each.embedded) for _, passages in split for each in passages]
            store, count = build_table(Path(place), split, embedder)
            for mode in MODES:
                ranks = [
                    page_ranks(store, found.questions, embedder, mode, file_given=given)
                    for given in (False, True)
                ]
                both = ["".join(f"{value:7.3f}" for value in shares(each)) for each in ranks]
                row = f"{name:16}{count:9}{sum(tokens) / len(tokens):7.0f} {mode:8}{both[0]}   {both[1]}"
                print(row, flush=True)
                if misses and name == "ours" and mode == "hybrid":
                    for question, anywhere, within in zip(found.questions, *ranks, strict=True):
                        print(
                            f"    {anywhere:3}{within:4}  {question.file} {sorted(question.relevant)} {question.text}"
                        )


def measure_abstracts(found: Abstracts, embedder: Embedder) -> None:
    """Print nDCG@10 and recall@10 of each mode."""
    print(
        f"\n{found.name}: {len(found.questions)} claims, {len(found.documents)} documents, one passage each"
    )
    print(f"{'by':10}{'nDCG@10':>10}{'recall@10':>11}")
    with TemporaryDirectory() as place:
        split = [(name, [Passage(text, 1, 1, text)]) for name, text in found.documents.items()]
        store, _ = build_table(Path(place), split, embedder)
        for mode in MODES:
            gain, recall = document_scores(store, found.questions, embedder, mode)
            print(f"{mode:10}{gain:10.4f}{recall:11.4f}", flush=True)


def main() -> None:
    """Print the figures of every set in the folder."""
    options = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    options.add_argument("--data", type=Path, required=True, help="folder of a set, or of folders of sets")
    options.add_argument(
        "--vectors",
        type=Path,
        default=Path.home() / ".cache" / "prefect-ollama" / "quality-vectors.sqlite",
        help="file that keeps the vectors",
    )
    options.add_argument("--only", nargs="+", metavar="SET", help="names of sets; all when left out")
    options.add_argument("--ours", action="store_true", help="leave out the other splitters")
    options.add_argument("--misses", action="store_true", help="list the rank of each question")
    arguments = options.parse_args()
    with Embedder(arguments.vectors) as embedder, Parser() as parser:
        for found in find_sets(arguments.data):
            if arguments.only and found.name not in arguments.only:
                continue
            if isinstance(found, Reports):
                measure_reports(found, parser, embedder, arguments.ours, arguments.misses)
            elif isinstance(found, Abstracts):
                measure_abstracts(found, embedder)
            elif isinstance(found, TablePages):
                result = tables.score(found, parser)
                print(f"\n{found.name}: tables of {len(found.truths)} files")
                print(f"{'precision':>10}{'recall':>8}{'F1':>8}{'mean F1 of files':>18}")
                print(f"{result.precision:10.3f}{result.recall:8.3f}{result.f1:8.3f}{result.mean_f1:18.3f}")


if __name__ == "__main__":
    main()
