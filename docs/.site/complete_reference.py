"""Refuse a site whose API reference lacks a public name."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

from mkdocs.exceptions import PluginError

if TYPE_CHECKING:
    from mkdocs.structure.pages import Page

PACKAGES = {
    "api/blocks.md": "prefect_ollama.blocks",
    "api/errors.md": "prefect_ollama.blocks.errors",
    "api/flows.md": "prefect_ollama.flows",
    "api/search.md": "prefect_ollama",
}


def on_page_content(html: str, page: Page, **_: object) -> None:
    """Look for the anchor of each public name of a package in its page.

    Raises:
        PluginError: A name has none.
    """
    package = PACKAGES.get(page.file.src_uri)
    names = importlib.import_module(package).__all__ if package else ()
    if missing := [name for name in names if f'id="{package}.{name}"' not in html]:
        raise PluginError(f"{page.file.src_uri} lacks {', '.join(missing)} of {package}.")
