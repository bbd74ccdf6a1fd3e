"""The one error that the command line prints: what is wrong and the command to run next."""


class StackError(Exception):
    """Something the operator has to act on."""

    def __init__(self, what: str, *, fix: str) -> None:
        super().__init__(what)
        self.what = what  #: one sentence
        self.fix = fix  #: the command to run next

    def __str__(self) -> str:
        return f"{self.what}\n  next: {self.fix}"
