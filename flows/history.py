"""Where earlier versions had `roll_back`: deployments that they made name it here."""

from prefect_ollama.flows.runs import roll_back

__all__ = ["roll_back"]
