"""The order of names with numbers in them."""

import re


def by_number(name: str) -> list[tuple[int, str]]:
    """A key that sorts ``checkpoint-200`` before ``checkpoint-1000``.

    >>> sorted(["b-1000", "b-200", "a"], key=by_number)
    ['a', 'b-200', 'b-1000']
    """
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"([0-9]+)", name)]
