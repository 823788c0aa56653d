"""What a comparison of two runs says, and what all kinds of runs share.

Shapes: N images, C classes, K kinds of errors.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from mmseg_ext.formats.instance_records import Instances
from mmseg_ext.formats.run_records import Meta
from mmseg_ext.report.bootstrap import Estimates, Gains
from mmseg_ext.report.instance_scores import Shown
from mmseg_ext.report.sequences import Sequences, interval_text

__all__ = [
    'Comparison',
    'Detected',
    'Draws',
    'Run',
    'differ',
    'find_images',
    'notes_of',
]


class Draws(NamedTuple):
    """What is drawn.

    Attributes:
        cluster: How names tell sequences; see :func:`find_sequences`.
        resamples: How many there are.
        seed: Of the draws.
    """

    cluster: str | None
    resamples: int
    seed: int


class Run(NamedTuple):
    """One of the two runs.

    Attributes:
        folder: Its directory.
        meta: What it says of itself.
        order: int64 (N,), the number of each image in it, in the order of
            run A.
    """

    folder: Path
    meta: Meta
    order: np.ndarray


class Detected(NamedTuple):
    """What one of two detectors found.

    Attributes:
        instances: Labels and detections.
        shown: What of them is right.
        errors: Of :class:`~mmseg_ext.report.instance_scores.Scores`.
    """

    instances: Instances
    shown: Shown
    errors: dict[str, tuple[int, float]]


@dataclass(frozen=True)
class Comparison:
    """What a run B is better by than a run A.

    Attributes:
        runs: A and B.
        score: Name of the score of a class.
        mean_score: That of the mean over the classes.
        sequences: Of the images.
        resamples: How many there were.
        included: bool (C,), the classes that the means go over.
        means: Of A and B.
        classes: (C,) of A and B.
        mean_gain: B minus A.
        class_gains: The same (C,).
        corrected: float64 (C,), p-values of the classes after Holm's
            correction.
        names: Of the images.
        image_score: Name of the score of an image.
        image_scores: float64 (2, N), of each image by itself; NaN where it is
            not defined.
        kinds: float64 (2, C, 2, K), the parts of the IoU that are missing by
            missed and invented pixels of each kind; None for instances.
        detected: By both runs; None of semantic segmentation.
        notes: What whoever reads the numbers should know.
    """

    runs: tuple[Run, Run]
    score: str
    mean_score: str
    sequences: Sequences
    resamples: int
    included: np.ndarray
    means: tuple[Estimates, Estimates]
    classes: tuple[Estimates, Estimates]
    mean_gain: Gains
    class_gains: Gains
    corrected: np.ndarray
    names: Sequence[str]
    image_score: str
    image_scores: np.ndarray
    kinds: np.ndarray | None = None
    detected: tuple[Detected, Detected] | None = None
    notes: Sequence[str] = ()


def differ(
    folders: tuple[Path, Path], what: str, values: tuple[object, object]
) -> ValueError:
    """Return the error of two runs that differ.

    Args:
        folders: Of both.
        what: In what, in words.
        values: What it is in either.
    """
    return ValueError(
        f'{folders[0]} and {folders[1]} are not of the same images, labels '
        f'and classes: {what} is {values[0]!r} in the first and '
        f'{values[1]!r} in the second; expected two runs on one data set'
    )


def find_images(
    folders: tuple[Path, Path], first: Sequence[str], second: Sequence[str]
) -> np.ndarray:
    """Find the images of A in B, whose order may be another.

    Args:
        folders: Of both.
        first: Names of the images of A.
        second: As many of B.

    Returns:
        int64 (N,), their numbers in B.

    Raises:
        ValueError: One is not there, or there twice.
    """
    for folder, names in zip(folders, (first, second), strict=True):
        twice = [name for name, n in Counter(names).items() if n > 1]
        if twice:
            raise ValueError(
                f'{folder}: two images are called {twice[0]}, so it is not '
                'known which are compared; expected another name for each'
            )
    places = {name: index for index, name in enumerate(second)}
    for index, name in enumerate(first):
        if name not in places:
            raise differ(folders, f'image {index}', (name, second[index]))
    return np.array([places[name] for name in first], np.int64)


def notes_of(
    folders: tuple[Path, Path], metas: tuple[Meta, Meta], sequences: Sequences
) -> list[str]:
    """Return what whoever reads the numbers should know.

    Args:
        folders: Of both runs.
        metas: Of both runs.
        sequences: Of their images.
    """
    notes = [interval_text(sequences)]
    if folders[0].resolve() == folders[1].resolve():
        notes.append('Both are one run directory.')
    checkpoints = {meta.checkpoint_hash for meta in metas}
    if len(checkpoints) == 1 and checkpoints != {''}:
        notes.append('Both runs are of the same checkpoint.')
    return notes
