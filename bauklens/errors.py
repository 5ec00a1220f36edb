"""The one exception bauklens raises for errors its user can fix."""


class LensError(ValueError):
    """An error that the user can fix: one line with what was looked for, what was found, and what to pass instead.

    >>> print(LensError("not this:\\n  but that"))
    not this: but that
    """

    def __init__(self, message: object = "") -> None:
        super().__init__(" ".join(line.strip() for line in str(message).splitlines()))


class PromptError(LensError):
    """An error in one prompt of several.

    Args:
        number: the number of the prompt, from 1.
        reason: what is wrong.
    """

    def __init__(self, number: int, reason: object) -> None:
        super().__init__(f"prompt {number}: {reason}")
        self.number, self.reason = number, str(LensError(reason))

    def __reduce__(self) -> tuple[type, tuple[int, str]]:
        return PromptError, (self.number, self.reason)


class NotFiniteError(LensError):
    """The model's output for a text is NaN or infinite."""
