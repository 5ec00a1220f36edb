"""The one exception that bauklens raises for what its user can mend."""


class LensError(ValueError):
    """Says in one line what was looked for, what was found, and what to pass instead."""


class PromptError(LensError):
    """What is wrong with one of several prompts.

    Args:
        number: of the prompt, from 1.
        reason: what is wrong.
    """

    def __init__(self, number: int, reason: object) -> None:
        super().__init__(f"prompt {number}: {reason}")
        self.number, self.reason = number, str(reason)

    def __reduce__(self) -> tuple[type, tuple[int, str]]:
        return PromptError, (self.number, self.reason)
