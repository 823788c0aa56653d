"""Run directories, made of label maps and predictions."""

from pathlib import Path

import cv2
import numpy as np

from mmseg_ext.evaluation.errors import count_errors
from mmseg_ext.formats.run_records import (
    BINS,
    Counts,
    Meta,
    write_counts,
    write_maps,
    write_meta,
)

COLORS = [(70, 130, 180), (70, 70, 70), (128, 64, 128), (107, 142, 35)]


def write_semantic_run(
    folder,
    pairs,
    classes=('sky', 'wall', 'road'),
    names=None,
    images=True,
    maps=True,
    suspects=(),
    brightness=None,
    confidence=None,
    ignore_index=255,
    **known,
):
    """Write a run directory, and its images beside it.

    Args:
        folder: The run directory.
        pairs: Label and prediction of each image, uint8 or uint16 (H, W).
        classes: Names.
        names: Of the images; by default numbers.
        images: Whether they are there.
        maps: Whether label maps are kept.
        suspects: Rows of :class:`Counts`.
        brightness: Of each image.
        confidence: As in :class:`Counts`.
        ignore_index: The label that does not count.
        **known: More of :class:`Meta`.
    """
    folder, root = Path(folder), Path(folder).parent / 'data'
    names = names or [f'{number}.png' for number in range(len(pairs))]
    parts = [count_image(*pair, len(classes), ignore_index) for pair in pairs]
    for number, (label, prediction) in enumerate(pairs):
        if maps:
            write_maps(folder, number, label, prediction)
        if images:
            path = root / names[number]
            path.parent.mkdir(parents=True, exist_ok=True)
            drawn = cv2.merge(
                [(label.astype(int) * 37 % 256).astype('u1')] * 3
            )
            path.write_bytes(cv2.imencode('.png', drawn)[1].tobytes())
    rows = [[len(each) for each in part] for part in parts]
    ptr = np.vstack([[0, 0], np.cumsum(np.array(rows)[:, :2], 0)])
    number = len(pairs)
    write_counts(
        folder,
        Counts(
            names=np.array(names),
            paths=np.array([f'{root}/{name}' for name in names]),
            sizes=np.array([label.shape for label, _ in pairs], np.int64),
            brightness=np.array(
                [100.0 + k for k in range(number)]
                if brightness is None
                else brightness,
                np.float64,
            ),
            pair_ptr=ptr[:, 0],
            pairs=np.concatenate([part[0] for part in parts]),
            class_ptr=ptr[:, 1],
            class_index=np.concatenate([part[1] for part in parts]),
            boundary=np.concatenate([part[2] for part in parts]),
            errors=np.concatenate([part[3] for part in parts]),
            confidence=np.zeros((BINS, 3))
            if confidence is None
            else np.array(confidence, np.float64),
            suspects=np.array(suspects, np.int64).reshape(-1, 9),
        ),
    )
    palette = [
        COLORS[k] if k < len(COLORS) else (k % 256, k // 256, 53 * k % 256)
        for k in range(len(classes))
    ]
    meta = Meta(
        **{
            'task': 'semantic',
            'classes': tuple(classes),
            'palette': tuple(palette),
            'images': number,
            'dataset': 'SomeDataset',
            'data_root': str(root),
            'config': 'configs/some_net.py',
            'ignore_index': ignore_index,
            **known,
        }
    )
    write_meta(folder, meta)
    return meta


def count_image(label, prediction, number, ignore_index):
    """Return pairs, classes, boundaries and errors of an image."""
    kept = label != ignore_index
    both = np.stack([label[kept], prediction[kept]], 1).astype(np.int64)
    found, pixels = np.unique(both, axis=0, return_counts=True)
    pairs = np.column_stack([found, pixels]).reshape(-1, 3)
    return pairs, *count_errors(prediction, label, number, ignore_index)
