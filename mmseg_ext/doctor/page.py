"""``report.html``: the findings with pictures, in one offline file."""

from pathlib import Path

from mmseg_ext.doctor.examine import Diagnosis

__all__ = ['write_page']


def write_page(diagnosis: Diagnosis, path: Path) -> None:
    """Write the page of a diagnosis."""
