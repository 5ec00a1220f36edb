"""The labels of the rows of attention heads."""

import re

_HEAD = re.compile(r"(.+)\.(h\d+|bias)")


def head_label(block: str, head: int | None) -> str:
    """The label of an attention head's row; for None, that of the bias, which belongs to no head.

    >>> head_label("20", 3), head_label("20", None)
    ('20.h3', '20.bias')
    """
    return f"{block}.bias" if head is None else f"{block}.h{head}"


def block_of(label: str) -> str:
    """The block of a row of an attention head; of any other row, its label.

    >>> block_of("20.h3"), block_of("20"), block_of("embed")
    ('20', '20', 'embed')
    """
    found = _HEAD.fullmatch(label)
    return found[1] if found else label
