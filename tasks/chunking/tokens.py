"""How long a text is in tokens when no tokenizer is at hand: an estimate that errs on the long side."""

from __future__ import annotations

import math


def estimate_tokens(text: str) -> int:
    """Estimate the tokens of a text, begin and end marks included; rather too many than too few.

    A character of ASCII counts a third of a token (English has 4 to 5 characters a token), any other one
    (accented letters, Cyrillic, Chinese, Thai, …) a whole one and a half.
    """
    plain = len(text.encode("ascii", "ignore"))
    return 2 + math.ceil(plain / 3 + (len(text) - plain) * 1.5)
