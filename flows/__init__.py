"""The flows that a user starts."""

from prefect.settings import get_current_settings

from prefect_ollama.blocks.documents import (
    CheckedAnswer,
    CheckedReport,
    CheckedSentence,
    Chunk,
    Found,
    Hit,
    Place,
    Quote,
    Region,
    ReportPart,
    ReportStep,
    Run,
)
from prefect_ollama.blocks.lance import Maintenance, Undo
from prefect_ollama.blocks.nodes import NodeStatus, keep_local_direct
from prefect_ollama.flows.ask import ask
from prefect_ollama.flows.base import Advanced, Chunking, Limits, Only, Password, Reading
from prefect_ollama.flows.discover import discover_nodes
from prefect_ollama.flows.forget import ForgetReport, Forgotten, forget, forgettable
from prefect_ollama.flows.ingest import ingest_pdfs
from prefect_ollama.flows.maintain import maintain_table
from prefect_ollama.flows.nodes import check_nodes
from prefect_ollama.flows.re_embed import re_embed, re_embed_cost
from prefect_ollama.flows.research import research
from prefect_ollama.flows.runs import preview_roll_back, roll_back, runs
from prefect_ollama.flows.search import search
from prefect_ollama.flows.summarize import summarize
from prefect_ollama.flows.tune import tune_nodes
from prefect_ollama.tasks.dispatch import ChatUnfinished, Unfinished
from prefect_ollama.tasks.parsing import DroppedLine
from prefect_ollama.tasks.re_embed_cost import ReEmbedCost
from prefect_ollama.tasks.reporting import FileReport, IngestReport, NodeReport, NodeTuning
from prefect_ollama.tasks.tuning import Point, Tuning

__all__ = [
    "Advanced",
    "ChatUnfinished",
    "CheckedAnswer",
    "CheckedReport",
    "CheckedSentence",
    "Chunk",
    "Chunking",
    "DroppedLine",
    "FileReport",
    "ForgetReport",
    "Forgotten",
    "Found",
    "Hit",
    "IngestReport",
    "Limits",
    "Maintenance",
    "NodeReport",
    "NodeStatus",
    "NodeTuning",
    "Only",
    "Password",
    "Place",
    "Point",
    "Quote",
    "ReEmbedCost",
    "Reading",
    "Region",
    "ReportPart",
    "ReportStep",
    "Run",
    "Tuning",
    "Undo",
    "Unfinished",
    "ask",
    "check_nodes",
    "discover_nodes",
    "forget",
    "forgettable",
    "ingest_pdfs",
    "maintain_table",
    "preview_roll_back",
    "re_embed",
    "re_embed_cost",
    "research",
    "roll_back",
    "runs",
    "search",
    "summarize",
    "tune_nodes",
]

# The server's address may be in a profile, and not in the environment.
keep_local_direct(get_current_settings().api.url)
