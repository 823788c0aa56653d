"""What the pipelines of data sets make of a few samples."""

from collections.abc import Sequence
from typing import Any, NamedTuple

from mmseg_ext.doctor.parts import Part

__all__ = ['PipelineRun', 'run_pipelines']


class PipelineRun(NamedTuple):
    """What a pipeline made of an image."""

    image: str


def run_pipelines(
    dataset: Any, parts: Sequence[Part]
) -> Sequence[PipelineRun]:
    """Run the pipeline of a split on a few of its images.

    Args:
        dataset: The whole data set, built; None if it cannot be.
        parts: The data sets within it.
    """
    return ()
