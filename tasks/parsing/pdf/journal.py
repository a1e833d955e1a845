"""The entries of a PDF's journal (`sandbox.protocol`): what was read of the file."""

from typing import Final

OPENED: Final = b"opened"  # page count, metadata, outline
PAGE: Final = b"page"  # a page as it was read
PAGE_FAILED: Final = b"page-failed"  # kind, message
ALL_READ: Final = b"all-read"  # all pages were read; what comes now adds to them
UNREADABLE: Final = b"unreadable"  # a page that needs OCR, and why
OCR: Final = b"ocr"  # a page as OCR read it
OCR_FAILED: Final = b"ocr-failed"  # kind, message
