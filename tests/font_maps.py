"""Maps of a font's letters to the characters that they stand for, as files hold them."""

from __future__ import annotations

from collections.abc import Mapping

import pymupdf


def map_font(page: pymupdf.Page, characters: Mapping[str, str]) -> None:
    """Map letters of the first font of a page to other characters (ISO 32000-1, 9.10.3), at most 100 of them."""
    codes = "".join(
        f"<{ord(letter):02x}> <{text.encode('utf-16-be').hex()}>\n" for letter, text in characters.items()
    )
    document = page.parent
    stream = document.get_new_xref()
    document.update_object(stream, "<<>>")
    document.update_stream(
        stream,
        (
            "/CIDInit /ProcSet findresource begin begincmap /CMapName /Adobe-Identity-UCS def\n"
            "1 begincodespacerange <00> <ff> endcodespacerange\n"
            f"{len(characters)} beginbfchar\n{codes}endbfchar endcmap end"
        ).encode(),
    )
    document.xref_set_key(page.get_fonts()[0][0], "ToUnicode", f"{stream} 0 R")
