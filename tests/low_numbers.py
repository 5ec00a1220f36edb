"""The numbers of low precision that heads are multiplied in."""

import pytest

from bauklens.decode.cpu import has_int8

NUMBERS = [
    pytest.param("int8", marks=pytest.mark.skipif(not has_int8(), reason="this CPU does not multiply int8")),
    "bfloat16",
]
