"""Predictions as annotations that people mend in their tool."""

import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, NamedTuple

import cv2
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
    region_of_mask,
    regions_of_map,
)
from mmseg_ext.formats.image_facts import read_size
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

#: How many instances an image may have in CVAT's masks.
_MOST_OBJECTS = 254

#: The table of the images, the least certain first.
_TABLE = 'uncertainty.csv'

#: What a detector finds with less is no reason to doubt an image.
_LEAST_SCORE = 0.05

#: Parts of a predicted label map with fewer pixels are no instances.
_LEAST_AREA = 16

#: What a model raises for an image that it cannot take.
_ERRORS = (
    *(ArithmeticError, AssertionError, LookupError, MemoryError),
    *(RuntimeError, TypeError, ValueError, cv2.error),
)

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
        regions: Instances, the highest score last; empty of segmentors.
    """

    size: tuple[int, int]
    uncertainty: float
    labels: np.ndarray | None
    regions: Sequence[Region] = ()


class _UnfitError(ValueError):
    """The model has no labels for any image."""


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
    numbered: bool = False,
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
    ``|2 score - 1|``, which is 1 for a score of 0.5; 0 where there is none.

    Instances of a segmentor are the connected parts of each class with 16
    pixels or more, but for a class that is named background; in CVAT's masks
    each class is one, so that no pixel is lost. Instances of a detector come
    with the highest score last, which is on top where they are drawn. Its
    label maps have a class ``background`` first.

    Labels are those of the image as EXIF turns it, as labelme and CVAT do.

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
        numbered: Let names begin with the place in the order, ``001_``, for
            tools that show images by their names.
        device: Such as ``'cpu'`` or ``'cuda:0'``; by default a GPU if there
            is one.
        cfg_options: Entries to change in the config of a segmentor.
        on_note: Called with a line for what a reader has to know.
        progress: Show a progress bar.

    Returns:
        Counts, and the images that could not be read.

    Raises:
        FileNotFoundError: The checkpoint or an image is missing.
        OSError: The labels cannot be written; nothing stays of them.
        ValueError: An argument is out of range, there are no images, two
            images differ in the suffix only, ``out_dir`` is not empty, config
            and checkpoint do not fit, the detector gives no masks, or the
            classes are too many for the format or have names that it cannot
            hold.
    """
    require('to', to, to in TARGETS, ' or '.join(TARGETS))
    fits = is_number(score) and 0 <= score <= 1
    require('score', score, fits, 'a number from 0 to 1')
    fits = uncertain is None or is_integer(uncertain, 1)
    require('uncertain', uncertain, fits, '1 or more images')
    out_dir = Path(out_dir)
    report = PredictReport(out_dir)
    found = find_images(images, report.others)
    names = _names_of(found, to, numbered, report.unreadable)
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
        # Names of classes are checked before the work, not after it.
        write(Path(scratch, 'nothing'), predict.classes, ())
        for path in tqdm(names, unit='image', disable=not progress):
            try:
                prediction = predict(path, score)
                if to == 'cvat':
                    _check_number(prediction.regions)
            except _UnfitError:
                raise
            except OSError as error:
                reason = printable(why_not_opened(path, error))
                report.unreadable[path] = reason
            except _ERRORS as error:
                report.unreadable[path] = _why_not(path, error)
            else:
                place = Path(scratch, f'{len(kept)}')
                kept.append(_Kept.written(path, prediction, place))
        kept.sort(key=lambda each: -each.uncertainty)
        chosen = kept[:uncertain]
        report.images = len(chosen)
        report.certain = len(kept) - len(chosen)
        if chosen:
            rows: list[_Row] = []
            if numbered:
                names = _with_numbers(chosen, names)
            done = Path(scratch, 'labels')
            items = _annotated(chosen, names, predict.classes, to, rows)
            write(done, predict.classes, items)
            text = csv_text([_Row._fields, *rows])
            write_text(done / _TABLE, text, durable=True)
            # All at once: what is there is whole.
            for entry in done.iterdir():
                entry.rename(out_dir / entry.name)
    return report


def _names_of(
    paths: Sequence[str],
    to: str,
    numbered: bool,
    unreadable: dict[str, str],
) -> dict[str, str]:
    """Return how images are named in an export, by their paths.

    Args:
        paths: The images.
        to: One of :data:`TARGETS`; COCO has no file for each image.
        numbered: Whether they get numbers in front, which have to fit.
        unreadable: Gets the reason for those that have no name.

    Raises:
        ValueError: Two differ in the suffix only.
    """
    root = common_folder(paths)
    names: dict[str, str] = {}
    stems: dict[str, str] = {}
    for path in paths:
        name = Path(os.path.abspath(path)).relative_to(root).as_posix()
        stem = os.path.splitext(name)[0]
        longest = f'{stem}.json'
        if numbered and '/' not in stem:
            longest = f'{_number(0, len(paths))}{longest}'
        reason = long_name(path, longest, 'labels')
        if not is_unicode(path):
            reason = f'{printable(path)}: its name is not UTF-8; rename it'
        if reason:
            unreadable[path] = reason
        elif stem in stems and to != 'coco':
            raise ValueError(
                f'{stems[stem]} and {path} have the same name but for the '
                'suffix, so that their labels would have one name: rename one '
                'of them'
            )
        else:
            names[path], stems[stem] = name, path
    return names


def _number(place: int, count: int) -> str:
    """Return what a name begins with, to be sorted by it."""
    return f'{place:0{len(str(count))}}_'


def _with_numbers(
    kept: Sequence['_Kept'], names: Mapping[str, str]
) -> dict[str, str]:
    """Return names that begin with the places of the images."""
    return {
        each.path: _number(place, len(names)) + names[each.path]
        for place, each in enumerate(kept, 1)
    }


def _check_number(regions: Sequence[Region]) -> None:
    """Check that CVAT's masks can hold the instances of an image.

    Raises:
        ValueError: They cannot.
    """
    if len(regions) > _MOST_OBJECTS:
        raise ValueError(
            f'{len(regions)} instances, and masks of CVAT hold '
            f'{_MOST_OBJECTS} an image: give a higher score, or '
            "to='coco', which CVAT reads as well"
        )


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
    to: str,
    rows: list[_Row],
) -> Iterator[Annotated]:
    """Yield predictions as formats take them, and note them in a table.

    Args:
        kept: The predictions.
        names: Names of the images by their paths.
        classes: Of the format.
        to: One of :data:`TARGETS`.
        rows: Gets a row for each image.
    """
    for each in kept:
        size, uncertainty, labels, regions = each.read()
        if labels is not None:
            regions = [
                region
                for region in regions_of_map(labels, classes.background)
                if coco_mask.area(region.mask) >= _LEAST_AREA
            ]
        name = names[each.path]
        rows.append(_Row(name, f'{uncertainty:.4f}', len(regions)))
        if to == 'cvat' and labels is not None:
            regions = _one_a_class(labels, classes)
        if to not in _MAPS:
            labels = None
        elif labels is None:
            labels = painted(regions, size, 0)
        yield Annotated(name, Path(each.path), size, regions, labels)


def _one_a_class(labels: np.ndarray, classes: Classes) -> list[Region]:
    """Return the pixels of each class as an instance."""
    height, width = labels.shape
    return [
        region_of_mask(
            (labels == index).astype(np.uint8), index, 0, 0, (width, height)
        )
        for index in np.unique(labels).tolist()
        if index in classes.objects
    ]


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
        if (width, height) != (size := read_size(Path(path))):
            raise ValueError(
                f"labels of {width}x{height} pixels by the config's loader, "
                f'but tools show {size[0]}x{size[1]}, such as by the EXIF '
                'orientation: save the image turned, without it'
            )
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
        if maps and len(names) > IGNORE_INDEX:
            raise ValueError(
                f'the detector has {len(names) - 1} classes, and label maps '
                f"hold {IGNORE_INDEX - 1} and the background: give to='coco' "
                "or to='labelme'"
            )
        colors = tuple(voc_color(k) for k in range(len(names)))
        self.classes = Classes(tuple(names), colors, 0 if maps else None)

    def __call__(self, path: str, score: float) -> _Prediction:
        image = decode_image(read_file(path), path)
        height, width = image.shape[:2]
        [sample] = detect(self._detector, [image])
        found = sample.pred_instances
        if 'masks' not in found:
            raise _UnfitError(
                'the detector gives boxes but no masks: take a model with a '
                'mask head, such as Mask R-CNN'
            )
        scores = found.scores.cpu().numpy()
        seen = scores[scores >= _LEAST_SCORE]
        doubt = float((1 - abs(2 * seen - 1)).mean()) if len(seen) else 0.0
        # Best last: it stays on top.
        order = np.argsort(-scores, kind='stable')[::-1].tolist()
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
