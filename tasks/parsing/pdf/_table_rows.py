"""The rows of a table whose cells stand in the middle of their row, beside a cell of several lines.

Nothing but the number of lines shows this: each row has as many lines above the line of its other cells as below.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise


def centred_rows(filled: Sequence[set[int]]) -> list[bool] | None:
    """Return for each line except the first whether it begins a row; None if cells do not stand in the middle.

    Args:
        filled: For each line of the table the columns in which it has text.
    """
    whole = [i for i, columns in enumerate(filled) if 0 in columns and len(columns) > 1]
    if len(whole) < 3 or len(whole) == len(filled):
        return None
    above = [whole[0]]
    for first, second in pairwise(whole):
        above.append(second - first - 1 - above[-1])
        if above[-1] < 0:
            return None
    # Lines above the first row below the header: no table has these whose cells stand at the top of their rows. The
    # lines below the last row may have been taken for text.
    if not above[1] or len(filled) - 1 - whole[-1] > above[-1]:
        return None
    starts = {at - lines for at, lines in zip(whole, above, strict=True)}
    return [i in starts for i in range(1, len(filled))]
