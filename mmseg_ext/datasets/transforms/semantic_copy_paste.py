"""Pasting of the pixels of rare classes from other images."""

from collections.abc import Collection, Iterator, Sequence, Sized
from typing import NamedTuple

import cv2
import numpy as np
from mmcv.transforms import BaseTransform
from mmcv.transforms.utils import cache_randomness
from mmseg.registry import TRANSFORMS

from mmseg_ext.utils.arguments import is_integer, is_number, require

__all__ = ['SemanticCopyPaste']


class _Piece(NamedTuple):
    """Connected pixels of one class.

    Attributes:
        box: The rows and columns that they are in.
        inside: bool (rows, columns), which of these pixels they are.
    """

    box: tuple[slice, slice]
    inside: np.ndarray


@TRANSFORMS.register_module()
class SemanticCopyPaste(BaseTransform):
    """Paste the pixels of rare classes from other images of the training.

    Connected pixels of one class are a piece. Pieces keep their place, where
    roads are below and signs beside; what lies beyond the image is cut off.
    Image and label map change alike, so each pixel that is pasted has the
    color and the class that it had.

    For MMSeg's ``MultiImageMixDataset``, which loads the other images with
    the pipeline of the data set within, so that ends before colors change
    and nothing is packed::

        train_dataloader = dict(
            dataset=dict(
                _delete_=True,
                type='MultiImageMixDataset',
                dataset=dict(..., pipeline=[load, load labels, crop, flip]),
                pipeline=[
                    dict(type='SemanticCopyPaste', classes=[8, 9, 10]),
                    dict(type='FastPhotoMetricDistortion'),
                    dict(type='PackSegInputs'),
                ],
            )
        )

    Required keys: ``img`` (H, W, C), ``gt_seg_map`` (H, W) and
    ``mix_results``, a list of such results. Changed: the first two.

    Args:
        classes: Indices of the classes to paste.
        prob: How often to paste anything, 0 to 1.
        num_images: How many other images to take pieces from. An image that
            has none of the classes gives none.
        max_pieces: How many pieces to paste at most, of all images together;
            which ones is left to chance.
        min_pixels: Smaller pieces are left out.

    Raises:
        ValueError: An argument is no such number or out of range, or
            ``mix_results`` is missing.
    """

    # A list of its own: see FastRandomCrop.
    _methods_with_randomness: list[str] = []

    def __init__(
        self,
        classes: Sequence[int],
        prob: float = 0.5,
        num_images: int = 1,
        max_pieces: int = 10,
        min_pixels: int = 16,
    ) -> None:
        require(
            'classes',
            classes,
            isinstance(classes, Sequence)
            and bool(classes)
            and all(is_integer(index, 0) for index in classes),
            'the indices of the classes to paste, integers of 0 or more',
        )
        require('prob', prob, is_number(prob, 0, 1), 'a number from 0 to 1')
        for name, value in (
            ('num_images', num_images),
            ('max_pieces', max_pieces),
            ('min_pixels', min_pixels),
        ):
            require(name, value, is_integer(value, 1), 'an integer above 0')
        self.classes = tuple(classes)
        self.prob = prob
        self.num_images = num_images
        self.max_pieces = max_pieces
        self.min_pixels = min_pixels

    def check_classes(self, numbers: Collection[int]) -> None:
        """Check that it fits a data set; ``LabelCheckHook`` calls it.

        Args:
            numbers: Numbers of classes that fit it.

        Raises:
            ValueError: It is to paste a class that the data set lacks.
        """
        if max(self.classes) >= max(numbers):
            raise ValueError(
                f'classes of SemanticCopyPaste has {max(self.classes)}: '
                f'expected indices below {max(numbers)}, the number of '
                'classes of the data set'
            )

    @cache_randomness
    def get_indices(self, dataset: Sized) -> list[int]:
        """Draw which images to take pieces from; none where none is pasted.

        Args:
            dataset: The data set within ``MultiImageMixDataset``.
        """
        if np.random.random() >= self.prob:
            return []
        return np.random.randint(len(dataset), size=self.num_images).tolist()

    def transform(self, results: dict) -> dict:
        """Paste pieces into image and label map.

        Args:
            results: Of a pipeline, with ``mix_results``.

        Raises:
            ValueError: There is no ``mix_results``.
        """
        if 'mix_results' not in results:
            raise ValueError(
                'SemanticCopyPaste finds no mix_results: expected it in the '
                'pipeline of MultiImageMixDataset, not in that of the data '
                'set within'
            )
        found = [
            (other, piece)
            for other in results['mix_results']
            for piece in self._pieces(other['gt_seg_map'])
        ]
        if not found:
            return results
        results['img'] = results['img'].copy()
        results['gt_seg_map'] = results['gt_seg_map'].copy()
        for index in self._draw(len(found)):
            other, piece = found[index]
            _paste(other, piece, results)
        return results

    @cache_randomness
    def _draw(self, count: int) -> list[int]:
        """Draw which pieces to paste, and in which order."""
        return np.random.permutation(count)[: self.max_pieces].tolist()

    def _pieces(self, label: np.ndarray) -> Iterator[_Piece]:
        """Yield the pieces of a label map that are large enough."""
        for index in self.classes:
            mask = (label == index).astype(np.uint8)
            count, parts, boxes, _ = cv2.connectedComponentsWithStats(mask)
            for part in range(1, count):
                x, y, width, height, pixels = boxes[part]
                box = slice(y, y + height), slice(x, x + width)
                if pixels >= self.min_pixels:
                    yield _Piece(box, parts[box] == part)


def _paste(source: dict, piece: _Piece, target: dict) -> None:
    """Write the pixels of a piece, as far as the target reaches."""
    for key in ('img', 'gt_seg_map'):
        place = target[key][piece.box]
        inside = piece.inside[: place.shape[0], : place.shape[1]]
        height, width = inside.shape
        place[inside] = source[key][piece.box][:height, :width][inside]
