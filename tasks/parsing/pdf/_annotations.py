"""The content of a file outside the drawing of its pages: comments, values of fields, attached files, hidden layers.

Comments are read. Content that cannot be read as text of a page is named, so that nothing is left out silently.
"""

import contextlib
import re
from collections.abc import Iterator, Sequence
from typing import Any, Final

from prefect_ollama.blocks.quantity import quantity
from prefect_ollama.tasks.parsing._invisible import visible
from prefect_ollama.tasks.parsing.document import Problem
from prefect_ollama.tasks.parsing.pdf._layout import Comment, RawPage, letters_and_digits
from prefect_ollama.tasks.parsing.pdf.mupdf import mupdf, pymupdf, raw

# Of one page, and of one file.
_MAX_ANNOTATIONS: Final = 10_000
# Names of attached files that are read; a hostile file may have millions.
_MAX_NAMES: Final = 1_000
# Maximum number of names of each kind in the report; further names are only counted.
_MAX_LISTED: Final = 20
# Characters of a name there.
_MAX_NAME: Final = 120
# Characters of one comment; only a hostile file has a longer one.
_MAX_COMMENT: Final = 100_000
# PDF 32000-1, 12.5.3: annotations that are hidden from every reader.
_HIDDEN: Final = 2
# 12.7.4.3: the value of a field for passwords.
_PASSWORD: Final = 1 << 13
# These annotations hold sounds, films and 3D models, which have no text.
_MEDIA: Final = frozenset({"Sound", "Movie", "RichMedia", "Screen", "3D"})
# Rich text of a comment is XHTML (PDF 32000-1, 12.7.3.4), of which only the words are kept.
_MARKUP: Final = re.compile(r"<[^<>]*>")


def read_annotations(page: RawPage, drawn: Any, text: bytes) -> None:
    """Add the comments of a page, the values of its fields, and the names of files that are attached to it.

    Args:
        text: What the page shows, in UTF-8; a comment that it shows is not read again.
    """
    this = mupdf.ll_pdf_page_from_fz_page(drawn)
    first, first_field = mupdf.ll_pdf_first_annot(this), mupdf.ll_pdf_first_widget(this)
    if not first and not first_field:
        return
    shown = letters_and_digits(text.decode("utf-8", "replace"))
    for each in _linked(first, mupdf.ll_pdf_next_annot):
        kind = mupdf.ll_pdf_string_from_annot_type(mupdf.ll_pdf_annot_type(each))
        said = _contents(each)
        if kind == "FileAttachment" or kind in _MEDIA:
            specification = mupdf.ll_pdf_dict_gets(mupdf.ll_pdf_annot_obj(each), "FS")
            page.files.append(_name_of(specification) or f"a {kind} object")
            if kind == "FileAttachment" and said == page.files[-1]:
                continue
        if said and mupdf.ll_pdf_annot_flags(each) & _HIDDEN:
            page.hidden += 1
        elif said and letters_and_digits(said) not in shown:
            author = mupdf.ll_pdf_annot_author(each) if mupdf.ll_pdf_annot_has_author(each) else ""
            label = f"Comment by {_line(author)}" if author else "Comment"
            page.comments.append(_comment(each, label, said))
    for each in _linked(first_field, mupdf.ll_pdf_next_widget):
        choice, value = _choice(each), _value(each)
        if choice or (value and letters_and_digits(value) not in shown):
            page.comments.append(_comment(each, f"Field {_label(each)}".strip(), choice or value))


def beside_pages(document: Any) -> dict[str, Any]:
    """Return what a file holds that is on none of its pages: names of attached files, hidden layers, kinds of form."""
    about: dict[str, Any] = {"files": [], "layers": [], "portfolio": False, "xfa": False, "dynamic": False}
    # A broken entry here must not keep the pages from being read.
    with contextlib.suppress(Exception):
        this = mupdf.ll_pdf_document_from_fz_document(raw(document))
        root = mupdf.ll_pdf_dict_gets(mupdf.ll_pdf_trailer(this), "Root")
        about["portfolio"] = mupdf.ll_pdf_dict_gets(root, "Collection") is not None
        about["xfa"] = mupdf.ll_pdf_dict_getp(root, "AcroForm/XFA") is not None
        dynamic = mupdf.ll_pdf_dict_gets(root, "NeedsRendering")
        about["dynamic"] = dynamic is not None and bool(mupdf.ll_pdf_to_bool(dynamic))
        if mupdf.ll_pdf_dict_getp(root, "Names/EmbeddedFiles"):
            about["files"] = list(_embedded(this))
        if mupdf.ll_pdf_dict_gets(root, "OCProperties"):
            layers = document.get_ocgs().values()
            about["layers"] = [_line(layer["name"]) for layer in layers if not layer["on"]][:_MAX_NAMES]
    return about


def not_on_pages(about: dict[str, Any], pages: Sequence[RawPage]) -> Iterator[Problem]:
    """Say what was not read, by the result of `beside_pages` and by the pages that were read."""
    files = list(dict.fromkeys([*about.get("files", ()), *(name for page in pages for name in page.files)]))
    if files:
        names = _named(files)
        if about.get("portfolio"):
            kind, reason = "portfolio", f"The file is a portfolio; only its cover was read, and not: {names}."
        else:
            kind, reason = (
                "attachments",
                f"{quantity(len(files), 'attached file was', 'attached files were')} not read: {names}.",
            )
        remedy = "Save what is attached with a PDF viewer, and ingest it as files of its own."
        yield Problem(None, kind, reason, remedy, unread=kind == "portfolio")
    if layers := about.get("layers"):
        reason = (
            f"{quantity(len(layers), 'hidden layer was', 'hidden layers were')} not read: {_named(layers)}."
        )
        yield Problem(None, "layers", reason, "Show them in a PDF viewer, and save the file.", False)
    if hidden := sum(page.hidden for page in pages):
        reason = f"{quantity(hidden, 'hidden comment was', 'hidden comments were')} not read."
        yield Problem(None, "hidden-comments", reason, "Show them in a PDF viewer, and save the file.", False)
    if unknown := [page for page in pages if page.unknown]:
        count, where = sum(page.unknown for page in unknown), on_pages(unknown)
        signs = quantity(count, f"character {where} was", f"characters {where} were")
        reason = f"{signs} not read: the file does not say what the signs of their font mean."
        remedy = "Print the file as pictures to a new PDF, so that OCR reads it."
        yield Problem(None, "unknown-characters", reason, remedy, False)
    if about.get("xfa"):
        dynamic = bool(about.get("dynamic"))
        reason = "The file is an XFA form" + (", whose pages are made by its viewer" if dynamic else "")
        remedy = "Print it to a PDF with a viewer that shows its fields."
        yield Problem(None, "xfa", f"{reason}; what only XFA holds was not read.", remedy, dynamic)


def on_pages(pages: Sequence[RawPage]) -> str:
    """Say on which pages something is."""
    first = f"page {pages[0].number + 1}"
    return f"on {first}" if len(pages) == 1 else f"on {len(pages)} pages (the first is {first})"


def _embedded(document: Any) -> Iterator[str]:
    """Return the names of the files that the document's tree of names holds, also of one with branches."""
    which = mupdf.ll_pdf_new_name("EmbeddedFiles")
    names = mupdf.ll_pdf_load_name_tree(document, which)
    try:
        for number in range(min(mupdf.ll_pdf_dict_len(names), _MAX_NAMES)):
            key = mupdf.ll_pdf_to_name(mupdf.ll_pdf_dict_get_key(names, number))
            yield _name_of(mupdf.ll_pdf_dict_get_val(names, number)) or _line(key)
    finally:
        mupdf.ll_pdf_drop_obj(names)
        mupdf.ll_pdf_drop_obj(which)


def _linked(first: Any, following: Any) -> Iterator[Any]:
    for _ in range(_MAX_ANNOTATIONS):
        if not first:
            return
        yield first
        first = following(first)


def _contents(annotation: Any) -> str:
    said = mupdf.ll_pdf_annot_contents(annotation)
    if not said.strip() and (rich := mupdf.ll_pdf_dict_gets(mupdf.ll_pdf_annot_obj(annotation), "RC")):
        said = _MARKUP.sub(" ", mupdf.ll_pdf_to_text_string(rich))
    return str(said[:_MAX_COMMENT]).strip()


def _label(field: Any) -> str:
    """Return what a reader calls a field, its name if the file does not say that (PDF 32000-1, 12.7.3.1)."""
    entries = mupdf.ll_pdf_annot_obj(field)
    shown = mupdf.ll_pdf_dict_gets_inheritable(entries, "TU")
    said = mupdf.ll_pdf_to_text_string(shown) if shown else ""
    return _line(said or mupdf.ll_pdf_load_field_name(entries) or "")


def _choice(field: Any) -> str:
    """Return what a box that is checked stands for; a page shows it as a sign or a drawing, which has no text."""
    kind = mupdf.ll_pdf_widget_type(field)
    if kind not in (pymupdf.PDF_WIDGET_TYPE_CHECKBOX, pymupdf.PDF_WIDGET_TYPE_RADIOBUTTON):
        return ""
    state = mupdf.ll_pdf_dict_gets(mupdf.ll_pdf_annot_obj(field), "AS")
    name = _line(mupdf.ll_pdf_to_name(state)) if state else ""
    if name in ("", "Off") or mupdf.ll_pdf_annot_flags(field) & _HIDDEN:
        return ""
    return "checked" if kind == pymupdf.PDF_WIDGET_TYPE_CHECKBOX else name


def _value(field: Any) -> str:
    kind = mupdf.ll_pdf_widget_type(field)
    if kind not in (
        pymupdf.PDF_WIDGET_TYPE_TEXT,
        pymupdf.PDF_WIDGET_TYPE_COMBOBOX,
        pymupdf.PDF_WIDGET_TYPE_LISTBOX,
    ):
        return ""
    if mupdf.ll_pdf_annot_flags(field) & _HIDDEN or (
        kind == pymupdf.PDF_WIDGET_TYPE_TEXT and mupdf.ll_pdf_annot_field_flags(field) & _PASSWORD
    ):
        return ""
    return str((mupdf.ll_pdf_annot_field_value(field) or "")[:_MAX_COMMENT]).strip()


def _comment(annotation: Any, label: str, said: str) -> Comment:
    box = mupdf.ll_pdf_bound_annot(annotation)
    return Comment(box.x0, box.y0, box.x1, box.y1, f"{label}: {said}")


def _name_of(specification: Any) -> str:
    """Return the name of an attached file (PDF 32000-1, 7.11.3); empty if it has no name."""
    for key in ("UF", "F"):
        name = mupdf.ll_pdf_dict_gets(specification, key) if specification else None
        if name:
            return _line(mupdf.ll_pdf_to_text_string(name))
    return ""


def _line(name: str) -> str:
    """Return a name in one line of bounded length, without invisible characters."""
    name = " ".join(visible(name).split())
    return name if len(name) <= _MAX_NAME else f"{name[: _MAX_NAME - 1]}…"


def _named(names: Sequence[str]) -> str:
    more = f" and {len(names) - _MAX_LISTED} more" if len(names) > _MAX_LISTED else ""
    return ", ".join(names[:_MAX_LISTED]) + more
