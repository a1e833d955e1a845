"""The flows that a user starts."""

from prefect_ollama.flows.ingest import ingest_pdfs
from prefect_ollama.flows.nodes import NodeRow, check_nodes
from prefect_ollama.flows.search import search
from prefect_ollama.tasks.report import FileReport, IngestReport, NodeReport

__all__ = ["FileReport", "IngestReport", "NodeReport", "NodeRow", "check_nodes", "ingest_pdfs", "search"]
