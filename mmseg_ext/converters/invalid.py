"""Files that converters stop at, or leave out."""

from dataclasses import dataclass


@dataclass(frozen=True, order=True)
class Skip:
    """Why a file was left out.

    Attributes:
        file: The file.
        reason: What is wrong.
    """

    file: str
    reason: str


class InvalidFileError(ValueError):
    """A file that is not as it should be.

    Workers give it back in place of a result, so that the main process can
    decide whether to stop.

    Args:
        file: The file.
        reason: What is wrong.
    """

    def __init__(self, file: str, reason: str) -> None:
        super().__init__(file, reason)
        self.file, self.reason = file, reason
