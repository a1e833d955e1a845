"""Pictures: small SVG with nothing from elsewhere, to be read on light and dark ground, safe from what names hold."""

from prefect_ollama.tasks.drawing.scale import clock, steps
from prefect_ollama.tasks.drawing.svg import FAINT, HUES, INK, TROUBLE, Svg

__all__ = ["FAINT", "HUES", "INK", "TROUBLE", "Svg", "clock", "steps"]
