"""Small PDFs that no reader should be asked to open: each function gives the bytes of one."""

from __future__ import annotations

import zlib


def pdf(objects: dict[int, bytes], root: int = 1, extra: bytes = b"") -> bytes:
    """Write a PDF of numbered objects with a right cross-reference table."""
    out = bytearray(b"%PDF-1.7\n")
    offsets = {}
    for number, body in objects.items():
        offsets[number] = len(out)
        out += b"%d 0 obj\n%b\nendobj\n" % (number, body)
    start = len(out)
    size = max(objects) + 1
    out += b"xref\n0 %d\n0000000000 65535 f \n" % size
    for number in range(1, size):
        out += b"%010d 00000 %b \n" % (offsets.get(number, 0), b"n" if number in offsets else b"f")
    out += b"trailer\n<</Size %d/Root %d 0 R%b>>\nstartxref\n%d\n%%%%EOF\n" % (size, root, extra, start)
    return bytes(out)


def stream(data: bytes, entries: bytes = b"") -> bytes:
    return b"<<%b/Length %d>>\nstream\n%b\nendstream" % (entries, len(data), data)


_FONT = b"<</Type/Font/Subtype/Type1/BaseFont/Helvetica>>"
_SMALL = b"/MediaBox[0 0 612 792]"


def _one_page(content: bytes, resources: bytes, more: dict[int, bytes] | None = None) -> bytes:
    return pdf(
        {
            1: b"<</Type/Catalog/Pages 2 0 R>>",
            2: b"<</Type/Pages/Kids[3 0 R]/Count 1>>",
            3: b"<</Type/Page/Parent 2 0 R%b/Contents 4 0 R/Resources<<%b>>>>" % (_SMALL, resources),
            4: content,
            5: _FONT,
            **(more or {}),
        }
    )


def text_page(number: int, text: bytes) -> dict[int, bytes]:
    """Two objects that make one page with a line of text; its parent is object 2, its font object 5."""
    content = b"BT /F 12 Tf 72 700 Td (%b) Tj ET" % text
    return {
        number: b"<</Type/Page/Parent 2 0 R%b/Contents %d 0 R/Resources<</Font<</F 5 0 R>>>>>>"
        % (_SMALL, number + 1),
        number + 1: stream(content),
    }


def form_bomb(levels: int = 12, width: int = 12) -> bytes:
    """Forms that each draw the next one many times: width ** levels drawings in three KiB."""
    more = {}
    for level in range(levels):
        this, following = 10 + level, 11 + level
        last = level == levels - 1
        draw = b"BT /F 12 Tf 72 700 Td (x) Tj ET" if last else b"/X Do " * width
        resources = b"/Font<</F 5 0 R>>" if last else b"/XObject<</X %d 0 R>>" % following
        entries = b"/Type/XObject/Subtype/Form/BBox[0 0 612 792]/Resources<<%b>>" % resources
        more[this] = stream(draw, entries)
    return _one_page(stream(b"/X Do"), b"/XObject<</X 10 0 R>>", more)


def flate_bomb(megabytes: int = 4000) -> bytes:
    """A content stream that unpacks, twice, to gigabytes of white space."""
    packer = zlib.compressobj(9)
    blocks = [packer.compress(b" " * 2**20) + packer.flush(zlib.Z_FULL_FLUSH) for _ in range(2)]
    once = blocks[0] + blocks[1] * megabytes + packer.flush()
    return _one_page(
        stream(zlib.compress(once, 9), b"/Filter[/FlateDecode/FlateDecode]"), b"/Font<</F 5 0 R>>"
    )


def text_bomb(characters: int = 40_000_000) -> bytes:
    """A page with tens of millions of characters in a small stream."""
    piece = b"BT /F 1 Tf 10 10 Td (" + b"a b c " * 1000 + b") Tj ET\n"
    packer = zlib.compressobj(9)
    data = b"".join(packer.compress(piece) for _ in range(characters // 6000)) + packer.flush()
    return _one_page(stream(data, b"/Filter/FlateDecode"), b"/Font<</F 5 0 R>>")


def page_tree_loop() -> bytes:
    """A page tree that holds itself."""
    return pdf(
        {1: b"<</Type/Catalog/Pages 2 0 R>>", 2: b"<</Type/Pages/Kids[2 0 R 2 0 R]/Count 2/Parent 2 0 R>>"}
    )


def page_tree_bomb(levels: int = 9) -> bytes:
    """A page tree of a few objects with ten to the ninth pages."""
    objects = {1: b"<</Type/Catalog/Pages 2 0 R>>", **text_page(50, b"again"), 5: _FONT}
    for level in range(levels):
        this = 2 + level if level < 3 else 3 + level
        following = 3 + level if level < 2 else 4 + level
        child = following if level < levels - 1 else 50
        kids = b"%d 0 R " % child * 10
        objects[this] = b"<</Type/Pages/Kids[%b]/Count %d>>" % (kids, 10 ** (levels - level))
    return pdf(objects)


def page_count_lie() -> bytes:
    """One page, and a count of two thousand million."""
    return pdf(
        {
            1: b"<</Type/Catalog/Pages 2 0 R>>",
            2: b"<</Type/Pages/Kids[3 0 R]/Count 2147483647>>",
            **text_page(3, b"the only one"),
            5: _FONT,
        }
    )


def outline_loop() -> bytes:
    """One sound page, and an outline whose entries follow each other in a circle."""
    return pdf(
        {
            1: b"<</Type/Catalog/Pages 2 0 R/Outlines 20 0 R>>",
            2: b"<</Type/Pages/Kids[3 0 R]/Count 1>>",
            **text_page(3, b"sound"),
            5: _FONT,
            20: b"<</Type/Outlines/First 21 0 R/Last 22 0 R/Count 2>>",
            21: b"<</Title(a)/Parent 20 0 R/Next 22 0 R/Dest[3 0 R/Fit]>>",
            22: b"<</Title(b)/Parent 20 0 R/Next 21 0 R/First 21 0 R/Dest[3 0 R/Fit]>>",
        }
    )


def outline_heap(lines: int = 8000, entries: int = 8000) -> bytes:
    """A page of thousands of short lines, and an outline with thousands of titles that all might stand on it."""
    rows = b"".join(b"1 0 0 1 %d %d Tm (%db) Tj\n" % (20 + i % 9 * 50, 10 + i * 40, i) for i in range(lines))
    more = {
        30 + i: b"<</Title(%da b)/Parent 20 0 R%b/Dest[3 0 R/Fit]>>"
        % (i, b"/Next %d 0 R" % (31 + i) if i + 1 < entries else b"")
        for i in range(entries)
    }
    return pdf(
        {
            1: b"<</Type/Catalog/Pages 2 0 R/Outlines 20 0 R>>",
            2: b"<</Type/Pages/Kids[3 0 R]/Count 1>>",
            3: b"<</Type/Page/Parent 2 0 R/MediaBox[0 0 612 400000]/Contents 4 0 R/Resources<</Font<</F 5 0 R>>>>>>",
            4: stream(b"BT /F 1 Tf\n" + rows + b"ET"),
            5: _FONT,
            20: b"<</Type/Outlines/First 30 0 R/Last %d 0 R/Count %d>>" % (29 + entries, entries),
            **more,
        }
    )


def xref_loop() -> bytes:
    """A cross-reference table that says the one before it is itself."""
    body = pdf(
        {
            1: b"<</Type/Catalog/Pages 2 0 R>>",
            2: b"<</Type/Pages/Kids[3 0 R]/Count 1>>",
            **text_page(3, b"x"),
            5: _FONT,
        }
    )
    at = body.rindex(b"startxref\n") + len(b"startxref\n")
    offset = body[at:].split(b"\n")[0]
    return body.replace(b"trailer\n<<", b"trailer\n<</Prev %b" % offset)


def no_pages() -> bytes:
    return pdf({1: b"<</Type/Catalog/Pages 2 0 R>>", 2: b"<</Type/Pages/Kids[]/Count 0>>"})


def picture_bomb(side: int = 60_000) -> bytes:
    """A page that is one picture of thousands of millions of pixels, and says it is five metres wide."""
    packer = zlib.compressobj(9)
    row = b"\0" * (side // 8) * 100
    data = b"".join(packer.compress(row) for _ in range(side // 100)) + packer.flush()
    entries = (
        b"/Type/XObject/Subtype/Image/Width %d/Height %d/BitsPerComponent 1/ColorSpace/DeviceGray/Filter/FlateDecode"
        % (side, side)
    )
    return pdf(
        {
            1: b"<</Type/Catalog/Pages 2 0 R>>",
            2: b"<</Type/Pages/Kids[3 0 R]/Count 1>>",
            3: b"<</Type/Page/Parent 2 0 R/MediaBox[0 0 14400 14400]/Contents 4 0 R"
            b"/Resources<</XObject<</I 6 0 R>>>>>>",
            4: stream(b"14400 0 0 14400 0 0 cm /I Do"),
            6: stream(data, entries),
        }
    )


def sound_pages_before(bomb_levels: int = 12, pages: int = 5) -> bytes:
    """Some sound pages, then one with a bomb of forms, then one more sound page."""
    objects: dict[int, bytes] = {1: b"<</Type/Catalog/Pages 2 0 R>>", 5: _FONT}
    kids = []
    for i in range(pages):
        objects.update(text_page(100 + 2 * i, b"Sound page number %d of the file." % (i + 1)))
        kids.append(100 + 2 * i)
    objects[50] = b"<</Type/Page/Parent 2 0 R%b/Contents 51 0 R/Resources<</XObject<</X 10 0 R>>>>>>" % _SMALL
    objects[51] = stream(b"/X Do")
    kids.append(50)
    objects.update(text_page(300, b"Sound page at the end."))
    kids.append(300)
    for level in range(bomb_levels):
        last = level == bomb_levels - 1
        draw = b"BT /F 12 Tf 72 700 Td (x) Tj ET" if last else b"/X Do " * 12
        resources = b"/Font<</F 5 0 R>>" if last else b"/XObject<</X %d 0 R>>" % (11 + level)
        entries = b"/Type/XObject/Subtype/Form/BBox[0 0 612 792]/Resources<<%b>>" % resources
        objects[10 + level] = stream(draw, entries)
    objects[2] = b"<</Type/Pages/Kids[%b]/Count %d>>" % (
        b" ".join(b"%d 0 R" % k for k in kids),
        len(kids),
    )
    return pdf(objects)
