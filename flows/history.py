"""`roll_back` under the module path that deployments of earlier versions name."""

from prefect_ollama.flows.runs import roll_back

__all__ = ["roll_back"]
