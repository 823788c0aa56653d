"""Run directories of a few small label maps, counted naively."""

from pathlib import Path

import cv2
import numpy as np

from mmseg_ext.formats import run_records
from mmseg_ext.formats.run_records import BINS, Counts, Meta


def write_run(folder, labels, predictions, classes=3, **options):
    """Write a run directory; return its folder.

    Args:
        folder: It, a path.
        labels: uint8 (H, W) each; 255 is ignored.
        predictions: The same.
        classes: How many, or their names.
        options: ``names`` of the images; ``photos``, whether they are there;
            the rest is of ``Meta``.
    """
    if isinstance(classes, int):
        classes = tuple(f'class {number}' for number in range(classes))
    names = options.pop('names', None)
    names = names or [f'images/{k}.png' for k in range(len(labels))]
    photos = options.pop('photos', True)
    pairs, boundary, errors, index = [], [], [], []
    pair_ptr, class_ptr = [0], [0]
    for number, (label, prediction) in enumerate(
        zip(labels, predictions, strict=True)
    ):
        matrix = count(label, prediction, len(classes))
        for row, column in np.argwhere(matrix):
            pairs.append((row, column, matrix[row, column]))
        pair_ptr.append(len(pairs))
        for each in np.flatnonzero(matrix.sum(0) + matrix.sum(1)):
            hit = matrix[each, each]
            index.append(each)
            boundary.append((hit, matrix[each].sum(), matrix[:, each].sum()))
            # All missed ones at the boundary, all invented ones whole.
            missed = matrix[each].sum() - hit
            invented = matrix[:, each].sum() - hit
            errors.append(((missed, 0, 0), (0, 0, invented)))
        class_ptr.append(len(index))
        run_records.write_maps(folder, number, label, prediction)
        if photos:
            path = Path(folder, 'photos', f'{number}.png')
            path.parent.mkdir(exist_ok=True)
            cv2.imwrite(str(path), np.full((*label.shape, 3), 90, np.uint8))
    counts = Counts(
        names=np.array(names, str),
        paths=np.array(
            [f'{folder}/photos/{k}.png' for k in range(len(names))], str
        ),
        sizes=np.array([each.shape for each in labels], np.int64).reshape(
            -1, 2
        ),
        brightness=np.full(len(names), np.nan),
        pair_ptr=np.array(pair_ptr, np.int64),
        pairs=np.array(pairs, np.int64).reshape(-1, 3),
        class_ptr=np.array(class_ptr, np.int64),
        class_index=np.array(index, np.int64),
        boundary=np.array(boundary, np.int64).reshape(-1, 3),
        errors=np.array(errors, np.int64).reshape(-1, 2, 3),
        confidence=np.zeros((BINS, 3)),
        suspects=np.zeros((0, 9), np.int64),
    )
    run_records.write_counts(folder, counts)
    meta = dict(
        task='semantic',
        classes=tuple(classes),
        palette=tuple((40 * k % 256, 90, 160) for k in range(len(classes))),
        images=len(names),
    )
    run_records.write_meta(folder, Meta(**(meta | options)))
    return folder


def count(label, prediction, classes):
    """Return a confusion matrix, pixel by pixel."""
    matrix = np.zeros((classes, classes), np.int64)
    for row, column in zip(label.flat, prediction.flat, strict=True):
        if row != 255:
            matrix[row, column] += 1
    return matrix


def draw_labels(rng, images=12, classes=3, size=(8, 10)):
    """Return label maps of big squares, a few pixels of each ignored."""
    labels = []
    for _ in range(images):
        small = rng.integers(classes, size=(2, 2), dtype=np.uint8)
        label = np.kron(small, np.ones((4, 5), np.uint8))
        label[: size[0], : size[1]][rng.random(size) < 0.05] = 255
        labels.append(label)
    return labels


def spoil(rng, labels, share, classes=3):
    """Return predictions that are wrong in a share of the pixels."""
    predictions = []
    for label in labels:
        wrong = rng.random(label.shape) < share
        other = rng.integers(classes, size=label.shape, dtype=np.uint8)
        right = np.where(label == 255, 0, label)
        predictions.append(np.where(wrong, other, right).astype(np.uint8))
    return predictions
