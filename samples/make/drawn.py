"""The documents that are drawn rather than set: slides, tables of computed gears, a form, a scan."""

from __future__ import annotations

import math

import numpy as np
import pymupdf

from samples.make.finish import Meta, finish
from samples.make.text import read
from samples.make.typeset import A4, A5, Layout, typeset

BLUE = (0.10, 0.22, 0.40)
GREY = (0.45, 0.45, 0.45)
RINGS = (28, 34, 39, 42, 50)
SPROCKETS = (11, 12, 13, 15, 17, 19, 21, 24, 28, 32, 36)
WHEEL = 2.105  # metres around, of a tyre 28-622
INCHES = WHEEL / math.pi / 0.0254


def _put(
    page: pymupdf.Page,
    at: tuple[float, float],
    words: str,
    face: str,
    size: float,
    color: tuple[float, float, float] = (0, 0, 0),
) -> None:
    page.insert_text(at, words, fontname=face, fontsize=size, color=color)


def lighthouses() -> bytes:
    """Slides in 16:9: big type, few words, bands of colour."""
    text = read("slides.md")
    css = (
        "body { font-family: sans-serif; font-size: 19px; line-height: 1.3; text-align: left; hyphens: none }"
        "h1 { font-size: 29px; color: #1a3866; margin-bottom: 22px } li { margin-bottom: 7px }"
    )
    layout = Layout(
        size=(720, 405),
        margins=(48, 60, 50, 72),
        css=css,
        foot=lambda n: f"Lighthouses &nbsp;·&nbsp; {n} / {len(text.sections)}",
    )
    pages = typeset(text.sections, layout)
    document = pymupdf.open("pdf", pages.pdf)
    for page in document:
        page.draw_rect(pymupdf.Rect(0, 0, 24, 405), color=None, fill=BLUE, overlay=False)
        tip = pymupdf.Point(24, 40)
        for spread in (10, 24):
            page.draw_polyline(
                [tip, (720, 40 - spread), (720, 40 + spread), tip],
                color=None,
                fill=(1, 0.93, 0.6),
                fill_opacity=0.35,
                overlay=False,
            )
    return finish(document, Meta("Lighthouses", "Slides", "lighthouse, Fresnel, navigation"), pages.outline)


def bicycle_gears() -> bytes:
    """Text, a ruled table over two pages with its header repeated, and a chart on a rotated page."""
    text = read("bicycle-gears.md")
    layout = Layout(
        size=A4, margins=(76, 80, 70, 80), running=lambda n, _: ("", "Bicycle gears") if n > 1 else ("", "")
    )
    pages = typeset(text.sections, layout, new_page=False)
    document = pymupdf.open("pdf", pages.pdf)
    outline = [*pages.outline, [1, "Table of gears", document.page_count + 1]]
    _gear_table(document)
    outline.append([1, "Chart of gears", document.page_count + 1])
    _gear_chart(document)
    return finish(document, Meta("Bicycle gears", "Mechanics", "gear ratio, derailleur, hub gear"), outline)


def _gear_rows() -> list[tuple[str, ...]]:
    rows: list[tuple[str, ...]] = []
    for ring in RINGS:
        for sprocket in SPROCKETS:
            ratio = ring / sprocket
            metres = ratio * WHEEL
            rows.append(
                (
                    f"{ring}",
                    f"{sprocket}",
                    f"{ratio:.2f}",
                    f"{metres:.2f}",
                    f"{ratio * INCHES:.1f}",
                    f"{metres * 60 * 0.06:.1f}",
                    f"{metres * 90 * 0.06:.1f}",
                )
            )
    return rows


def _gear_table(document: pymupdf.Document) -> None:
    heads = ("Front teeth", "Rear teeth", "Ratio", "Metres a turn", "Gear inches", "km/h at 60", "km/h at 90")
    left, span, tall = 80.0, 62.0, 18.0
    rows = _gear_rows()
    for start in range(0, len(rows), 33):
        page = document.new_page(width=A4[0], height=A4[1])
        _put(page, (left, 92), "Table of gears" if start == 0 else "Table of gears, continued", "hebo", 13)
        note = f"Wheel {WHEEL:.3f} m around (tyre 28-622). Speeds in km/h at 60 and 90 turns of the cranks a minute."
        _put(page, (left, 108), note, "helv", 8.5)
        _put(page, (A4[0] - 140, 54), "Bicycle gears", "helv", 8)
        _put(page, (A4[0] / 2 - 3, A4[1] - 44), str(page.number + 1), "helv", 8)
        shape = page.new_shape()
        shown = [heads, *rows[start : start + 33]]
        for line, cells in enumerate(shown):
            y = 120 + line * tall
            if line == 0:
                shape.draw_rect(pymupdf.Rect(left, y, left + 7 * span, y + tall))
                shape.finish(color=None, fill=(0.9, 0.9, 0.9))
            for column, cell in enumerate(cells):
                box = pymupdf.Rect(left + column * span, y, left + (column + 1) * span, y + tall)
                shape.draw_rect(box)
                shape.finish(color=GREY, width=0.4)
                face = "hebo" if line == 0 else "helv"
                size = 8.0 if line == 0 else 9.0
                wide = pymupdf.get_text_length(cell, face, size)
                shape.insert_text((box.x1 - 4 - wide, y + 12.5), cell, fontname=face, fontsize=size)
        shape.commit()


def _gear_chart(document: pymupdf.Document) -> None:
    """Draw the chart in landscape, then lay it on a portrait page which is shown turned by 90 degrees."""
    chart = pymupdf.open()
    page = chart.new_page(width=A4[1], height=A4[0])
    _put(page, (70, 70), "All gears of one crankset, on a scale of equal percentages", "hebo", 14)
    words = (
        "Each dot is one combination of chainring and sprocket. Dots of two rings that stand one above the other are",
        "the same gear: of fifty-five combinations only thirty-four are more than two per cent apart.",
    )
    for line, sentence in enumerate(words):
        _put(page, (70, 92 + 14 * line), sentence, "helv", 10)
    low, high = 1.5, 10.0

    def x_of(metres: float) -> float:
        return 130 + 640 * math.log(metres / low) / math.log(high / low)

    for metres in (1.5, 2, 2.5, 3, 4, 5, 6, 7, 8, 9, 10):
        page.draw_line((x_of(metres), 150), (x_of(metres), 480), color=(0.8, 0.8, 0.8), width=0.5)
        _put(page, (x_of(metres) - 6, 496), f"{metres:g}", "helv", 9)
    _put(page, (360, 516), "development, metres a turn", "helv", 10)
    for line, ring in enumerate(RINGS):
        y = 180 + line * 65
        _put(page, (70, y + 3), f"{ring} teeth", "helv", 10)
        for sprocket in SPROCKETS:
            page.draw_circle((x_of(ring / sprocket * WHEEL), y), 4, color=BLUE, fill=BLUE)
            _put(page, (x_of(ring / sprocket * WHEEL) - 5, y - 8), str(sprocket), "helv", 7)
    sheet = document.new_page(width=A4[0], height=A4[1])
    sheet.show_pdf_page(sheet.rect, chart, 0, rotate=90)
    sheet.set_rotation(90)


def invoice() -> bytes:
    """An invoice with a ruled table, and a return form with fields that are filled in."""
    document = pymupdf.open()
    page = document.new_page(width=A4[0], height=A4[1])
    goods = (
        ("Rain collector, 200 cm², with debris screen", "4-110", 1, 4850),
        ("Bearing cartridge for cup anemometer", "4-117", 2, 1290),
        ("Humidity sensor, calibrated", "4-102", 1, 3675),
        ("Lithium cell CR123A", "9-004", 6, 395),
        ("U-bolt M6, stainless steel", "2-031", 4, 240),
    )
    _put(page, (60, 80), "Example Instruments", "hebo", 18, color=BLUE)
    _put(
        page,
        (60, 96),
        "Sample document: seller, buyer and goods are made up. Do not pay.",
        "heit",
        9,
        color=GREY,
    )
    for line, words in enumerate(("Example Allotment Society", "1 Sample Lane", "00000 Exampleton")):
        _put(page, (60, 140 + 14 * line), words, "helv", 10)
    facts = ("Invoice number", "EX-2026-0042"), ("Date", "12 January 2026"), ("Due", "11 February 2026")
    for line, (label, value) in enumerate((*facts, ("Order", "of 7 January 2026, by letter"))):
        _put(page, (340, 140 + 14 * line), f"{label}:", "hebo", 10)
        _put(page, (425, 140 + 14 * line), value, "helv", 10)
    _put(page, (60, 230), "INVOICE", "hebo", 14)
    edges = (60, 290, 350, 400, 465, 535)
    heads = ("Description", "Part", "Quantity", "Unit price", "Amount")
    lines = [heads, *((name, part, str(n), _euro(each), _euro(n * each)) for name, part, n, each in goods)]
    for line, cells in enumerate(lines):
        y = 246 + 20 * line
        for column, cell in enumerate(cells):
            box = pymupdf.Rect(edges[column], y, edges[column + 1], y + 20)
            page.draw_rect(box, color=GREY, width=0.5, fill=(0.92, 0.94, 0.97) if line == 0 else None)
            face = "hebo" if line == 0 else "helv"
            shift = 4 if column < 2 else box.width - 4 - pymupdf.get_text_length(cell, face, 9)
            _put(page, (box.x0 + shift, y + 13.5), cell, face, 9)
    net = sum(n * each for _, _, n, each in goods)
    tax = (net * 19 + 50) // 100
    for line, (label, cents) in enumerate((("Net", net), ("VAT 19 %", tax), ("Total EUR", net + tax))):
        y = 246 + 20 * len(lines) + 22 + 16 * line
        face = "hebo" if line == 2 else "helv"
        _put(page, (400, y), label, face, 10)
        _put(page, (531 - pymupdf.get_text_length(_euro(cents), face, 10), y), _euro(cents), face, 10)
    terms = (
        "Terms. Payable within 30 days without deduction. Within 10 days: 2 per cent discount on the net amount.",
        "Goods remain our property until they have been paid for in full.",
        "Returns are accepted within 14 days with the form overleaf. Opened packs of cells cannot be taken back.",
        "The humidity sensor has a calibration certificate, which expires after 24 months.",
    )
    for line, words in enumerate(terms):
        _put(page, (60, 500 + 16 * line), words, "helv", 9)

    form = document.new_page(width=A4[0], height=A4[1])
    _put(form, (60, 80), "Return form", "hebo", 16, color=BLUE)
    _put(form, (60, 98), "Please complete, sign, and enclose with the goods.", "helv", 10)
    fields = (
        ("Invoice number", "invoice", "EX-2026-0042"),
        ("Part returned", "part", "4-110 rain collector"),
        ("Reason", "reason", "Mouth dented in transport, does not stand level"),
        ("Wanted instead", "instead", "Replacement of the same kind"),
        ("Name", "name", "Treasurer, Example Allotment Society"),
        ("Date", "date", "19 January 2026"),
    )
    for line, (label, key, value) in enumerate(fields):
        y = 130 + 34 * line
        _put(form, (60, y + 14), label, "helv", 10)
        widget = pymupdf.Widget()
        widget.field_type = pymupdf.PDF_WIDGET_TYPE_TEXT
        widget.field_name = key
        widget.field_value = value
        widget.rect = pymupdf.Rect(170, y, 530, y + 20)
        widget.text_fontsize = 10
        widget.border_width = 0.5
        widget.border_color = GREY
        form.add_widget(widget)
    rules = (
        "1. Ask for a return number first if the goods are heavier than 10 kilograms.",
        "2. Damage in transport must be reported within seven days of delivery; keep the packing.",
        "3. We pay the postage when the fault is ours, and refund the price within five working days.",
    )
    for line, words in enumerate(rules):
        _put(form, (60, 370 + 16 * line), words, "helv", 9)
    return finish(document, Meta("Invoice EX-2026-0042 (sample)", "Invoice and return form", "invoice, form"))


def _euro(cents: int) -> str:
    return f"{cents // 100}.{cents % 100:02d}"


def lamp_scan() -> bytes:
    """A scan: grey page images at 120 dpi, a little askew and noisy, with no text layer."""
    text = read("scan-log.md")
    layout = Layout(size=A5, margins=(60, 54, 56, 54), css="body { font-size: 12px } h1 { font-size: 18px }")
    source = pymupdf.open("pdf", typeset(text.sections, layout).pdf)
    noise = np.random.default_rng(1823)
    document = pymupdf.open()
    for page in source:
        turned = pymupdf.Matrix(120 / 72, 120 / 72).prerotate(0.6 if page.number % 2 else -0.5)
        sheet = page.get_pixmap(matrix=turned, colorspace=pymupdf.csGRAY)
        grey = np.frombuffer(sheet.samples, np.uint8).reshape(sheet.height, sheet.stride)[:, : sheet.width]
        aged = np.clip(18 + 0.88 * grey.astype(np.float64) + noise.normal(0, 3, grey.shape), 0, 255).astype(
            np.uint8
        )
        picture = pymupdf.Pixmap(pymupdf.csGRAY, sheet.width, sheet.height, aged.tobytes(), False)
        leaf = document.new_page(width=A5[0], height=A5[1])
        leaf.insert_image(leaf.rect, stream=picture.tobytes("jpeg", jpg_quality=55), keep_proportion=False)
    return finish(document, Meta("Notes on keeping a lighthouse lamp (scan)", "Scan without text", "scan"))
