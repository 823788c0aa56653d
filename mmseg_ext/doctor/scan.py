"""One pass over the files of data sets: headers, pixels, hashes."""

from collections.abc import Sequence
from pathlib import Path

from mmseg_ext.doctor.parts import Part

__all__ = ['scan_parts']


def scan_parts(
    parts: Sequence[Part],
    nproc: int = 1,
    sample: int | None = None,
    cache: Path | None = None,
) -> None:
    """Look at the files of data sets, and set their samples."""
