"""A config that mends what a config can mend."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from mmengine.config import Config

from mmseg_ext.doctor.examine import Diagnosis

__all__ = ['Suggestion', 'check_suggest', 'write_suggestion']


class Suggestion(NamedTuple):
    """A child config."""

    path: Path

    def lines(self) -> Iterator[str]:
        """Yield what a terminal shows of it."""
        yield f'  {self.path}'


def check_suggest(path: Path, cfg: Config) -> None:
    """Check that a suggestion can be written to a path."""


def write_suggestion(
    diagnosis: Diagnosis,
    path: Path,
    cfg_options: Mapping[str, Any],
    **options: Any,
) -> Suggestion:
    """Write a child config."""
    return Suggestion(path)
