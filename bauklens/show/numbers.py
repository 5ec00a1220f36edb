"""Numbers as people read them."""


def readable_probability(probability: float) -> str:
    """Five characters: three decimals, or a power of ten if these would be zero.

    >>> readable_probability(0.7034), readable_probability(0.00002)
    ('0.703', '2e-05')
    """
    return f"{probability:.3f}" if probability >= 0.0005 or probability == 0 else f"{probability:.0e}"


def readable_magnitude(magnitude: float) -> str:
    """Four digits; above a thousand, no powers of ten.

    >>> readable_magnitude(786.23), readable_magnitude(23849.7)
    ('786.2', '23,850')
    """
    return f"{magnitude:,.0f}" if magnitude >= 1000 else f"{magnitude:.4g}"
