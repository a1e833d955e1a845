"""What is there, and what has to be done about it. Needs no Prefect."""

from prefect_ollama.tasks.planning.bundle import Bundle, Bundles
from prefect_ollama.tasks.planning.opening import LinkOnTheWay, NotRegular, hash_descriptor
from prefect_ollama.tasks.planning.plan import Plan, ReaderVersions, make_plan
from prefect_ollama.tasks.planning.source import Source, SourceFile, find_files

__all__ = [
    "Bundle",
    "Bundles",
    "LinkOnTheWay",
    "NotRegular",
    "Plan",
    "ReaderVersions",
    "Source",
    "SourceFile",
    "find_files",
    "hash_descriptor",
    "make_plan",
]
