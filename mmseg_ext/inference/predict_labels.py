"""Predictions as annotations that people mend in their tool."""

import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec
import numpy as np
from pycocotools import mask as coco_mask
from tqdm import tqdm

from mmseg_ext.formats.color_masks import (
    BACKGROUND_NAMES,
    IGNORE_INDEX,
    voc_color,
)
from mmseg_ext.formats.exports import formats
from mmseg_ext.formats.exports.export import Annotated, Classes
from mmseg_ext.formats.exports.regions import (
    Region,
    painted,
    regions_of_map,
)
from mmseg_ext.formats.rle import Rle
from mmseg_ext.inference.detectors import detect, load_detector
from mmseg_ext.inference.image_files import (
    check_folder,
    check_outside,
    common_folder,
    find_images,
    long_name,
    why_not_opened,
)
from mmseg_ext.inference.segmentors import Segmentor, load_segmentor
from mmseg_ext.launch.configs import load_config, scope_of
from mmseg_ext.utils.arguments import is_integer, is_number, require
from mmseg_ext.utils.files import HIDDEN, read_file, write_bytes, write_text
from mmseg_ext.utils.images import decode_image, decode_labels, encode_labels
from mmseg_ext.utils.scratch import working_in
from mmseg_ext.utils.text import csv_text, is_unicode, printable

# MMDet may be absent.
if TYPE_CHECKING:
    from mmdet.apis import DetInferencer

__all__ = ['TARGETS', 'PredictReport', 'predict_labels']

#: Formats by what ``--to`` calls them.
TARGETS = {
    'coco': 'coco',
    'labelme': 'labelme',
    'cvat': 'cvat',
    'png': 'index-masks',
}

#: Those whose labels are maps, one class a pixel.
_MAPS = ('cvat', 'png')

#: The table of the images, the least certain first.
_TABLE = 'uncertainty.csv'

#: What a detector finds with less is no reason to doubt an image.
_LEAST_SCORE = 0.05

#: Parts of a predicted label map with fewer pixels are no instances.
_LEAST_AREA = 16

#: What a model raises for an image that it cannot take.
_ERRORS = (AssertionError, IndexError, KeyError, RuntimeError, TypeError)

_BACKGROUND = 'background'


@dataclass
class PredictReport:
    """What was written.

    Attributes:
        folder: Where.
        images: Number of images whose labels were written.
        certain: Number of others, which are less uncertain.
        unreadable: Why an image could not be read or predicted, by its path.
        others: Number of pictures in the folders that are of no kind that is
            read, by suffix.
    """

    folder: Path
    images: int = 0
    certain: int = 0
    unreadable: dict[str, str] = field(default_factory=dict)
    others: Counter[str] = field(default_factory=Counter)


class _Prediction(NamedTuple):
    """What a model says of an image.

    Attributes:
        size: Width and height.
        uncertainty: 0 to 1.
        labels: The class of each pixel, uint8 (H, W); None of detectors.
        regions: Instances, the highest score first; empty of segmentors.
    """

    size: tuple[int, int]
    uncertainty: float
    labels: np.ndarray | None
    regions: Sequence[Region] = ()


class _Row(NamedTuple):
    """Row of the table; the fields are its header."""

    image: str
    uncertainty: str
    objects: int


def predict_labels(
    config: str,
    checkpoint: str,
    images: Sequence[str | os.PathLike[str]],
    out_dir: str | os.PathLike[str],
    to: str = 'coco',
    *,
    score: float = 0.5,
    uncertain: int | None = None,
    device: str | None = None,
    cfg_options: dict[str, Any] | None = None,
    on_note: Callable[[str], None] | None = None,
    progress: bool = True,
) -> PredictReport:
    """Predict labels of image files, and write them as an annotator's export.

    Images come in the order of their uncertainty, the least certain first,
    which ``uncertainty.csv`` lists, too. It is, for segmentors, 1 less the
    mean over the pixels of the probability of the likeliest class less that of
    the next; for detectors, the mean over what scores 0.05 or more of 1 less
    ``|2 score - 1|``, which is 1 for a score of 0.5.

    Instances of a segmentor are the connected parts of each class with 16
    pixels or more, but for a class that is named background. Label maps of a
    detector have a class ``background`` first, and higher scores on top.

    Args:
        config: Path of a config of MMSeg or MMDet, or the name of one of this
            package.
        checkpoint: Path of a checkpoint; loaded with ``weights_only``.
        images: Image files, and folders that are searched with all below.
        out_dir: Folder to write: new or empty.
        to: One of :data:`TARGETS`.
        score: Instances of a detector that score less are left out; 0 to 1.
        uncertain: Write the so many least certain images alone; None writes
            all.
        device: Such as ``'cpu'`` or ``'cuda:0'``; by default a GPU if there
            is one.
        cfg_options: Entries to change in the config of a segmentor.
        on_note: Called with a line for what a reader has to know.
        progress: Show a progress bar.

    Returns:
        Counts, and the images that could not be read.

    Raises:
        FileNotFoundError: The checkpoint or an image is missing.
        ValueError: An argument is out of range, there are no images, two
            images differ in the suffix only, ``out_dir`` is not empty, config
            and checkpoint do not fit, the detector gives no masks, or the
            classes are too many for the format.
    """
    require('to', to, to in TARGETS, ' or '.join(TARGETS))
    fits = is_number(score) and 0 <= score <= 1
    require('score', score, fits, 'a number from 0 to 1')
    fits = uncertain is None or is_integer(uncertain, 1)
    require('uncertain', uncertain, fits, '1 or more images')
    out_dir = Path(out_dir)
    report = PredictReport(out_dir)
    found = find_images(images, report.others)
    names = _names_of(found, report.unreadable)
    check_outside(images, out_dir)
    # What is there is never known to be of the same run.
    check_folder(out_dir, b'', 'labels')
    maps = to in _MAPS
    predict = _load(config, checkpoint, maps, device, cfg_options, on_note)
    write = formats()[TARGETS[to]].write
    kept: list[_Kept] = []
    with (
        working_in(out_dir),
        TemporaryDirectory(prefix=HIDDEN, dir=out_dir) as scratch,
    ):
        for path in tqdm(names, unit='image', disable=not progress):
            place = Path(scratch, f'{len(kept)}')
            try:
                kept.append(_Kept.written(path, predict(path, score), place))
            except OSError as error:
                reason = printable(why_not_opened(path, error))
                report.unreadable[path] = reason
            except (MemoryError, ValueError, *_ERRORS) as error:
                report.unreadable[path] = _why_not(path, error)
        kept.sort(key=lambda each: -each.uncertainty)
        chosen = kept[:uncertain]
        report.images = len(chosen)
        report.certain = len(kept) - len(chosen)
        if chosen:
            rows: list[_Row] = []
            items = _annotated(chosen, names, predict.classes, maps, rows)
            write(out_dir, predict.classes, items)
            text = csv_text([_Row._fields, *rows])
            write_text(out_dir / _TABLE, text, durable=True)
    return report


def _names_of(
    paths: Sequence[str], unreadable: dict[str, str]
) -> dict[str, str]:
    """Return how images are named in an export, by their paths.

    Raises:
        ValueError: Two differ in the suffix only.
    """
    root = common_folder(paths)
    names: dict[str, str] = {}
    stems: dict[str, str] = {}
    for path in paths:
        name = Path(os.path.abspath(path)).relative_to(root).as_posix()
        stem = os.path.splitext(name)[0]
        reason = long_name(path, f'{stem}.json', 'labels')
        if not is_unicode(path):
            reason = f'{printable(path)}: its name is not UTF-8; rename it'
        if reason:
            unreadable[path] = reason
        elif stem in stems:
            raise ValueError(
                f'{stems[stem]} and {path} have the same name but for the '
                'suffix, so that their labels would have one name: rename one '
                'of them'
            )
        else:
            names[path], stems[stem] = name, path
    return names


class _Kept(NamedTuple):
    """A prediction that lies on disk, so that memory does not grow.

    Attributes:
        path: The image.
        size: Width and height.
        uncertainty: 0 to 1.
        place: The file with its labels or regions.
        maps: Whether it has labels.
    """

    path: str
    size: tuple[int, int]
    uncertainty: float
    place: Path
    maps: bool

    @classmethod
    def written(
        cls, path: str, prediction: _Prediction, place: Path
    ) -> '_Kept':
        """Write a prediction to a file."""
        labels = prediction.labels
        data = (
            msgspec.msgpack.encode(prediction.regions)
            if labels is None
            else encode_labels(labels)
        )
        write_bytes(place, data)
        size, uncertainty = prediction.size, prediction.uncertainty
        return cls(path, size, uncertainty, place, labels is not None)

    def read(self) -> _Prediction:
        """Read it again."""
        data = self.place.read_bytes()
        known = self.size, self.uncertainty
        if self.maps:
            return _Prediction(*known, decode_labels(data))
        regions = msgspec.msgpack.decode(data, type=list[Region])
        return _Prediction(*known, None, regions)


def _annotated(
    kept: Iterable[_Kept],
    names: Mapping[str, str],
    classes: Classes,
    maps: bool,
    rows: list[_Row],
) -> Iterator[Annotated]:
    """Yield predictions as formats take them, and note them in a table.

    Args:
        kept: The predictions.
        names: Names of the images by their paths.
        classes: Of the format.
        maps: Whether it wants label maps.
        rows: Gets a row for each image.
    """
    for each in kept:
        _, uncertainty, labels, regions = each.read()
        if maps and labels is None:
            labels = painted(reversed(regions), each.size, 0)
        if not maps and labels is not None:
            regions = [
                region
                for region in regions_of_map(labels, classes.background)
                if coco_mask.area(region.mask) >= _LEAST_AREA
            ]
        name = names[each.path]
        rows.append(_Row(name, f'{uncertainty:.4f}', len(regions)))
        yield Annotated(name, Path(each.path), each.size, regions, labels)


class _SegmentorLabels:
    """Predicts label maps."""

    def __init__(self, segmentor: Segmentor, where: str) -> None:
        self._segmentor = segmentor
        names = [*map(str, segmentor.classes or ())]
        number = segmentor.model.num_classes
        if len(names) != number or not 0 < number <= IGNORE_INDEX:
            raise ValueError(
                f'{where}: the model has {number} classes and {len(names)} '
                'names for them; expected as many, at most 255, in the '
                "checkpoint or the config's test set"
            )
        colors = segmentor.palette or [voc_color(k) for k in range(number)]
        lowered = [name.lower() for name in names]
        ground = [k for k in range(number) if lowered[k] in BACKGROUND_NAMES]
        self.classes = Classes(
            tuple(names),
            tuple((int(r), int(g), int(b)) for r, g, b in colors),
            ground[0] if ground else None,
        )

    def __call__(self, path: str, score: float) -> _Prediction:
        image = self._segmentor.read(path)
        labels, margin = self._segmentor.segment_with_margin(image)
        height, width = labels.shape
        return _Prediction((width, height), 1 - margin, labels)


class _DetectorLabels:
    """Predicts instances.

    Args:
        detector: The detector.
        maps: Whether label maps are made of them.
    """

    def __init__(self, detector: 'DetInferencer', maps: bool) -> None:
        self._detector = detector
        self._first = int(maps)
        names = [*map(str, detector.model.dataset_meta['classes'])]
        names = [*[_BACKGROUND] * maps, *names]
        colors = tuple(voc_color(k) for k in range(len(names)))
        self.classes = Classes(tuple(names), colors, 0 if maps else None)

    def __call__(self, path: str, score: float) -> _Prediction:
        image = decode_image(read_file(path), path)
        height, width = image.shape[:2]
        [sample] = detect(self._detector, [image])
        found = sample.pred_instances
        if 'masks' not in found:
            raise ValueError(
                'the detector gives boxes but no masks: take a model with a '
                'mask head, such as Mask R-CNN'
            )
        scores = found.scores.cpu().numpy()
        seen = scores[scores >= _LEAST_SCORE]
        doubt = float((1 - abs(2 * seen - 1)).mean()) if len(seen) else 0.0
        order = [k for k in np.argsort(-scores, kind='stable').tolist()]
        regions = [
            Region(
                int(found.labels[k]) + self._first,
                _code(found.masks[k]),
                score=round(float(scores[k]), 4),
            )
            for k in order
            if scores[k] >= score
        ]
        kept = [r for r in regions if coco_mask.area(r.mask)]
        return _Prediction((width, height), doubt, None, kept)


def _code(mask: Any) -> Rle:
    """Return the run-length code of a mask, a tensor, an array or a code."""
    if isinstance(mask, dict):
        counts = mask['counts']
        data = counts.encode() if isinstance(counts, str) else counts
        return {'size': [*mask['size']], 'counts': data}
    pixels = np.asarray(mask.cpu() if hasattr(mask, 'cpu') else mask)
    code: Rle = coco_mask.encode(np.asfortranarray(pixels, np.uint8))
    return code


def _load(
    config: str,
    checkpoint: str,
    maps: bool,
    device: str | None,
    cfg_options: dict[str, Any] | None,
    on_note: Callable[[str], None] | None,
) -> '_SegmentorLabels | _DetectorLabels':
    """Load a segmentor or a detector, by what the config is."""
    if scope_of(load_config(config)) != 'mmdet':
        segmentor = load_segmentor(
            config,
            checkpoint,
            device,
            cfg_options=cfg_options,
            on_note=on_note,
        )
        return _SegmentorLabels(segmentor, config)
    if cfg_options:
        raise ValueError(
            f'cfg_options={cfg_options}: {config} is the config of a '
            'detector, for which there are none; change the config'
        )
    return _DetectorLabels(load_detector(config, checkpoint, device), maps)


def _why_not(path: str, error: BaseException) -> str:
    """Return in one line why there are no labels of an image."""
    text = ' '.join(str(error).split()) or type(error).__name__
    return printable(text if path in text else f'{path}: {text}')
