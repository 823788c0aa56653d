"""Color masks to indices: 960x720 with CamVid's 32 classes.

Without file reading against the loop over colors that tutorials use; with it
against a bare ``cv2.imread``, which is the floor.
"""

import tempfile
from pathlib import Path

import cv2
import numpy as np

from mmseg_ext.formats.color_masks import ColorClasses, mask_decoder
from mmseg_ext.labels.camvid import CAMVID32
from mmseg_ext.sample_data.camvid import write_camvid
from timing import Row, interleaved

SIZE = (960, 720)


def loop_over_colors(mask: np.ndarray, classes: ColorClasses) -> np.ndarray:
    """Compare the whole image with each color in turn."""
    rgb = mask[..., ::-1]
    labels = np.full(rgb.shape[:2], 255, np.int64)
    for color, index in classes.color_map:
        labels[(rgb == color).all(axis=2)] = index
    return labels


def run() -> list[Row]:
    """Time the decoder."""
    classes = ColorClasses.from_colors(CAMVID32)
    decoder = mask_decoder(classes.color_map, classes.index_map)
    with tempfile.TemporaryDirectory() as folder:
        write_camvid(folder, num=3, size=SIZE, progress=False)
        path = min(Path(folder, 'train_labels').iterdir())
        mask = cv2.imread(str(path))
        if (
            decoder.decode_colors(mask)[0] != loop_over_colors(mask, classes)
        ).any():
            raise RuntimeError('the decoder and the loop do not agree')
        times = interleaved(
            {
                'loop': lambda: loop_over_colors(mask, classes),
                'decode': lambda: decoder.decode_colors(mask),
                'imread': lambda: cv2.imread(str(path)),
                'file': lambda: decoder.decode_file(
                    path.read_bytes(), str(path), max_unknown=0
                ),
            }
        )
    return [
        Row(
            'color mask, decoding',
            'loop over colors',
            times['decode'],
            times['loop'],
        ),
        Row(
            'color mask, file to indices',
            'cv2.imread alone',
            times['file'],
            times['imread'],
        ),
    ]
