"""Pictures: what is in them, and that no name breaks out of them."""

from __future__ import annotations

import base64
from xml.etree import ElementTree

import pytest

from prefect_ollama.tasks.reporting import FAINT, HUES, INK, TROUBLE, Svg, clock, steps

WHITE, DARK = "#ffffff", "#111827"


def contrast(one: str, other: str) -> float:
    """Contrast of two colours, 1 to 21 (https://www.w3.org/TR/WCAG22/#dfn-contrast-ratio)."""

    def luminance(colour: str) -> float:
        parts = [int(colour[n : n + 2], 16) / 255 for n in (1, 3, 5)]
        linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    light, dark = sorted((luminance(one), luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


@pytest.mark.parametrize("ground", [WHITE, DARK])
def test_colours_stand_out_from_light_and_dark(ground: str) -> None:
    assert contrast(INK, ground) > 4
    for colour in (FAINT, TROUBLE, *HUES):
        assert contrast(colour, ground) > 2.4, colour


def test_a_picture_is_whole_whatever_names_hold() -> None:
    name = "</text><script>alert(1)</script> & \"gpu\" 'é'"
    picture = Svg(200, 100, name)
    picture.text(1, 2.25, name, anchor="end", size=9)
    picture.rect(0, 0, 10, 20, HUES[0], opacity=0.5)
    picture.line(0, 0, 5, 5, INK)
    picture.path([(0, 0), (1, 1), (2, 1), (2, 0.04), (2, 0)], fill=TROUBLE)
    root = ElementTree.fromstring(str(picture))
    assert [each.tag.partition("}")[2] for each in root] == ["title", "text", "rect", "line", "path"]
    assert [each.text for each in root][:2] == [name, name]
    assert root[4].attrib["d"] == "M0 0L1 1H2V0"
    head, _, body = picture.uri().partition(",")
    assert head == "data:image/svg+xml;base64"
    assert base64.b64decode(body).decode() == str(picture)
    assert "http" not in str(picture).replace("http://www.w3.org/2000/svg", "")


@pytest.mark.parametrize(
    ("most", "about", "time", "expected"),
    [
        (10, 5, False, [0, 2, 4, 6, 8, 10]),
        (0.3, 3, False, [0, 0.1, 0.2, 0.3]),
        (950, 4, False, [0, 500]),
        (1, 5, True, [0, 0.2, 0.4, 0.6, 0.8, 1.0]),
        (95, 6, True, [0, 30, 60, 90]),
        (5400, 6, True, [0, 900, 1800, 2700, 3600, 4500, 5400]),
        (30 * 86400, 6, True, [0, 432000, 864000, 1296000, 1728000, 2160000, 2592000]),
    ],
)
def test_marks_are_round(most: float, about: int, time: bool, expected: list[float]) -> None:
    assert steps(most, about=about, time=time) == pytest.approx(expected)


def test_times_are_written_for_people() -> None:
    times = (0, 0.25, 9.96, 42.4, 60, 200, 3600, 7500, 90000)
    said = ("0 s", "0.2 s", "10 s", "42 s", "1 min", "3 min 20 s", "1 h", "2 h 5 min", "1 d 1 h")
    assert tuple(map(clock, times)) == said
