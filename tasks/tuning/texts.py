"""Texts for tuning: plain sentences in random order, so that tokenizers have real words to work on.

The vectors are dropped, so the content does not matter. But the length does, and no two texts may be equal, because a
server may cache them.
"""

from __future__ import annotations

import random

# The usual mean for English.
CHARACTERS_A_TOKEN = 4

_SENTENCES = (
    "The gauge stands on the third pier and is read every morning before the ferry leaves.",
    "Nobody has moved the ladder since the roof was repaired in the autumn of the wet year.",
    "If the pressure falls below two bar, close the valve and wait until the needle rests.",
    "Bread that has proved overnight in a cool room tastes better than any that was hurried.",
    "Of the forty households that were asked, thirty-one had at least one bicycle in use.",
    "The committee meets on the first Tuesday of the month, unless that day is a holiday.",
    "A column of mercury is 760 millimetres high when the air presses as it usually does.",
    "Her letters from the coast describe the storms, the price of herring and the new chapel.",
    "Keep the receipt: without it neither the deposit nor the cost of carriage is paid back.",
    "The map was drawn in 1874 and shows the old course of the river through the orchards.",
    "Each sensor sends its reading every ten seconds, and twice as often while it is raining.",
    "What the apprentices learned first was to sharpen a chisel, and then to leave it alone.",
    "An index that is rebuilt at night costs nothing by day, as long as the night is long enough.",
    "The train on platform four has been delayed by about a quarter of an hour for an inspection.",
    "Turn the handle to the left, lift the cover, and let the filter dry before putting it back.",
    "Rents rose by six per cent in the town and by less than two in the villages around it.",
    "Copper conducts heat nearly twice as well as aluminium does, but it weighs three times as much.",
    "There is a note in the margin, in another hand, that doubts the whole of the second chapter.",
    "Pack the lamps in straw, mark the crates on two sides, and never stack more than three of them.",
    "The choir sang without the organ that winter because its bellows had been eaten by mice.",
    "Measured at noon, the shadow of the tower was a little shorter than the tower is tall.",
    "He answered that a promise made in a hurry should be kept slowly and with great care.",
    "Sow the beans when the soil is warm, a thumb deep, and keep the birds away for a week.",
    "All doors of the archive lock by themselves, so carry the key even for a short way.",
)


def texts_of(tokens: int, count: int, *, seed: int = 0) -> list[str]:
    """Return texts of about this many tokens, no two equal.

    Args:
        tokens: Length of each, at four characters a token; it may be a little more or less.
        count: Number of texts.
        seed: Other seeds give other texts.
    """
    draw = random.Random(seed)
    return [_text(tokens * CHARACTERS_A_TOKEN, number, draw) for number in range(count)]


def _text(length: int, number: int, draw: random.Random) -> str:
    text = f"Note {number}."
    while len(text) < length:
        text += " " + draw.choice(_SENTENCES)
    # To the nearest word, so that the lengths differ by less than one.
    cut = text[:length].rstrip()
    return cut if len(text) == length or text[length] == " " else cut.rsplit(" ", 1)[0]
