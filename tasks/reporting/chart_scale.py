"""The marks of an axis, and times as text."""

import math

# Round times in seconds: 30 s, 5 min, 1 h. Multiples of ten seconds would give marks such as 16 min 40 s.
_CLOCK = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10800, 21600, 43200, 86400)


def steps(most: float, *, about: int = 5, time: bool = False) -> list[float]:
    """Return round values from 0 to at most `most`.

    Args:
        most: The largest value of the axis, above 0.
        about: Approximate number of values.
        time: Whether the values are seconds; round ones are then minutes, hours and days.
    """
    rough = most / about
    if time and rough >= 1:
        step: float = next((each for each in _CLOCK if each >= rough), 86400 * math.ceil(rough / 86400))
    else:
        power = 10.0 ** math.floor(math.log10(rough))
        # A thousandth less, so that rounding does not exclude a step that fits exactly.
        step = next(each * power for each in (1.0, 2.0, 5.0, 10.0) if each * power >= rough * 0.999)
    return [step * number for number in range(int(most / step + 1e-9) + 1)]


def clock(seconds: float) -> str:
    """Return a time as text: `0.5 s`, `42 s`, `3 min 20 s`, `2 h 5 min`, `3 d 4 h`."""
    if seconds < 10:
        return f"{round(seconds, 1):g} s"
    whole = round(seconds)
    # Two units at most, because seconds are useless beside days.
    for large, small, one, of in (
        (86400, 3600, "d", "h"),
        (3600, 60, "h", "min"),
        (60, 1, "min", "s"),
    ):
        if whole >= large:
            rest = whole % large // small
            return f"{whole // large} {one}" + (f" {rest} {of}" if rest else "")
    return f"{whole} s"
