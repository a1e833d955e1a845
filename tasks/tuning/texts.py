"""Texts for tuning: plain sentences in random order, so that tokenizers have real words to work on.

The vectors are dropped, so the content does not matter. But the length does, and no two texts may be equal, because a
server may cache them.
"""

import random

# The usual mean for English.
CHARACTERS_A_TOKEN = 4

_SENTENCES = (
    "The gauge stands on the third pier and is read every morning before the ferry leaves.",
    "If the pressure falls below two bar, close the valve and wait until the needle rests.",
    "Of the forty households that were asked, thirty-one had at least one bicycle in use.",
    "A column of mercury is 760 millimetres high when the air presses as it usually does.",
    "Keep the receipt: without it neither the deposit nor the cost of carriage is paid back.",
    "Each sensor sends its reading every ten seconds, and twice as often while it is raining.",
    "An index that is rebuilt at night costs nothing by day, as long as the night is long enough.",
    "Turn the handle to the left, lift the cover, and let the filter dry before putting it back.",
    "Copper conducts heat nearly twice as well as aluminium does, but it weighs three times as much.",
    "Pack the lamps in straw, mark the crates on two sides, and never stack more than three of them.",
    "Measured at noon, the shadow of the tower was a little shorter than the tower is tall.",
    "Sow the beans when the soil is warm, a thumb deep, and keep the birds away for a week.",
)


def texts_of(tokens: int, count: int) -> list[str]:
    """Return texts of about this many tokens, no two equal, and the same in each call.

    Args:
        tokens: Length of each, at four characters a token; it may be a little more or less.
        count: Number of texts.
    """
    draw = random.Random(0)
    return [_text(tokens * CHARACTERS_A_TOKEN, number, draw) for number in range(count)]


def _text(length: int, number: int, draw: random.Random) -> str:
    text = f"Note {number}."
    while len(text) < length:
        text += " " + draw.choice(_SENTENCES)
    # To the nearest word, so that the lengths differ by less than one.
    cut = text[:length].rstrip()
    return cut if len(text) == length or text[length] == " " else cut.rsplit(" ", 1)[0]
