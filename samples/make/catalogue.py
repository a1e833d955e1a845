"""The documents of `samples/`: file name and what makes it."""

from __future__ import annotations

from collections.abc import Callable

from samples.make import articles, drawn

DOCUMENTS: dict[str, Callable[[], bytes]] = {
    "agpl-3.pdf": articles.agpl,
    "bicycle-gears.pdf": drawn.bicycle_gears,
    "canal-du-midi-fr.pdf": articles.canal_fr,
    "dead-sea-he.pdf": articles.dead_sea_he,
    "invoice.pdf": drawn.invoice,
    "lamp-scan.pdf": drawn.lamp_scan,
    "lighthouses-slides.pdf": drawn.lighthouses,
    "line-telemetry.pdf": articles.line_telemetry,
    "measuring-the-world.pdf": articles.measuring,
    "printing-press.pdf": articles.printing_press,
    "salz-de.pdf": articles.salz_de,
    "sourdough.pdf": articles.sourdough,
    "tea-ja.pdf": articles.cha_ja,
    "tides.pdf": articles.tides,
    "weather-station.pdf": articles.weather_station,
}
