"""Numbers with their nouns, for logs, reports, errors and names of runs."""


def quantity(number: int, noun: str, several: str = "") -> str:
    """Return a number with its noun, such as `1 text` or `1,200 texts`.

    Args:
        noun: The noun, in the singular; words before the counted one may come with it.
        several: The plural, if it is not the singular with an `s`.
    """
    return f"{number:,} {noun if number == 1 else several or f'{noun}s'}"
