"""Put files of the repository that pages link to into the site.

A page links to a file by its path in the repository (`../deployments/prefect.yaml`), so that the link also works where
the repository is browsed. The site holds a copy of such a file below `repository/`; a Markdown file becomes a page.
A link to nothing, or to a folder, stays as it is, and the strict build reports it.
"""

from __future__ import annotations

import os
import re
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from mkdocs.structure.files import File, Files

if TYPE_CHECKING:
    from mkdocs.config.defaults import MkDocsConfig
    from mkdocs.structure.pages import Page

LINK = re.compile(r"(?<=\]\()(?P<path>[^)#:\s]+)(?=#[^)\s]*\)|\))")
REPOSITORY = "repository"
DOCS = "docs"


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add every file outside of the documentation's folder that a page links to, and those that these link to."""
    root = Path(config.config_file_path).parent
    waiting = [file for file in files if file.src_uri.endswith(".md")]
    while waiting:
        page = waiting.pop()
        for found in LINK.finditer(Path(str(page.abs_src_path)).read_text(encoding="utf-8")):
            target = _target(page.src_uri, found["path"])
            uri = _site_uri(target)
            if uri in files.src_uris or not (root / target).is_file():
                continue
            file = File.generated(config, uri, abs_src_path=str(root / target))
            files.append(file)
            if uri.endswith(".md"):
                waiting.append(file)
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Point links at the places that `on_files` gave to files of the repository."""

    def moved(link: re.Match[str]) -> str:
        uri = _site_uri(_target(page.file.src_uri, link["path"]))
        if uri not in files.src_uris:
            return link["path"]
        return os.path.relpath(uri, PurePosixPath(page.file.src_uri).parent)

    return LINK.sub(moved, markdown)


def _target(page: str, link: str) -> str:
    """Return the path in the repository that a link leads to; the page is given as the site knows it."""
    inside = page.removeprefix(f"{REPOSITORY}/") if page.startswith(f"{REPOSITORY}/") else f"{DOCS}/{page}"
    return os.path.normpath(PurePosixPath(inside).parent / link)


def _site_uri(target: str) -> str:
    """Return where the site holds a file of the repository."""
    if target == "README.md":
        return target  # the site's first page says the same
    return target.removeprefix(f"{DOCS}/") if target.startswith(f"{DOCS}/") else f"{REPOSITORY}/{target}"
