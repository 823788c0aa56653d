"""Facts about each image of a data set, and what they say is odd.

A light pass takes :class:`ImageFacts` of each image: :func:`label_facts` of a
label map, :func:`coco_facts` of instances. Of one image they tell what is
wrong with it. What makes it odd among all, :func:`find_odd` adds, and
:func:`worst_first` brings them in an order to look at.
"""

import io
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from enum import IntEnum
from os import cpu_count
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import msgspec
import numpy as np
from PIL import ExifTags
from tqdm import tqdm

from mmseg_ext.formats.coco import Annotation, CocoImage, mask_extent
from mmseg_ext.utils.files import read_file
from mmseg_ext.utils.images import decode_image, image_size, open_image
from mmseg_ext.utils.text import listing

__all__ = [
    'NO_CLASS',
    'Finding',
    'ImageFacts',
    'Kind',
    'LabeledImage',
    'as_map',
    'coco_facts',
    'find_odd',
    'label_facts',
    'look_through',
    'read_size',
    'worst_first',
]

#: An image is odd by its size where more than this part of all has another
#: one, and rare is a class that no more than that part of all has.
_MOST, _RARE = 0.5, 0.1

#: A box with a shorter side than this, in pixels, is tiny: less than one
#: position of the finest level of a feature pyramid, whose stride is 4.
_TINY = 4

#: Boxes may leave the image by so many pixels, which is rounding.
_ROUNDING = 1

#: Reading and decoding leave Python to others: more threads gain nothing.
_MOST_THREADS = 4

#: Stands in a label for what is no class, such as a color in no class list;
#: lists have fewer classes.
NO_CLASS = 254

#: The first and last bytes of a JPEG file.
_JPEG, _JPEG_END = b'\xff\xd8', b'\xff\xd9'

Job = TypeVar('Job')
Result = TypeVar('Result')


class Kind(IntEnum):
    """Kinds of findings, the worst first."""

    UNREADABLE = 0
    OTHER_SIZE = 1
    NO_CLASS = 2
    IGNORED = 3
    BROKEN = 4
    EMPTY = 5
    ODD_SIZE = 6
    TINY = 7
    RARE = 8


class Finding(NamedTuple):
    """Something that is wrong or odd.

    Attributes:
        kind: What kind of thing.
        text: It, in a few words.
    """

    kind: Kind
    text: str


class ImageFacts(NamedTuple):
    """What is known of an image and its label.

    Attributes:
        size: Width and height in pixels; None if it cannot be read.
        counts: Pixels or instances of each class that it has.
        ignored: Pixels without class.
        findings: What is wrong with it, by itself.
    """

    size: tuple[int, int] | None
    counts: Mapping[Any, int]
    ignored: int = 0
    findings: tuple[Finding, ...] = ()


class LabeledImage(NamedTuple):
    """An image, and how its label map is read.

    Attributes:
        name: As it is shown.
        image: The file.
        read_label: Returns the label, integers (H, W), and a warning or None;
            raises OSError or ValueError.
        label: The file of the label, where one is known.
    """

    name: str
    image: Path
    read_label: Callable[[], tuple[np.ndarray, str | None]]
    label: Path | None = None


def look_through(
    function: Callable[[Job], Result],
    jobs: Sequence[Job],
    progress: bool = True,
) -> list[Result]:
    """Call a function for each of many files.

    Args:
        function: What is called, in threads.
        jobs: Its arguments.
        progress: Show a progress bar.

    Returns:
        The results, in the order of the jobs.
    """
    with ThreadPoolExecutor(min(_MOST_THREADS, cpu_count() or 1)) as pool:
        bar = tqdm(
            pool.map(function, jobs),
            desc='looking through',
            total=len(jobs),
            unit=' images',
            disable=not progress,
        )
        return list(bar)


def read_size(path: Path) -> tuple[int, int]:
    """Return the width and height of an image as loaders see it.

    Only what EXIF turns is decoded, and what seems to be cut off.

    Args:
        path: The file.

    Raises:
        OSError: It cannot be read.
        ValueError: It is no image.
    """
    data = read_file(path)
    size = image_size(data, str(path))
    cut = data.startswith(_JPEG) and not data.rstrip(b'\0').endswith(_JPEG_END)
    if size is None or cut or _turned(data):
        height, width = decode_image(data, str(path)).shape[:2]
        return width, height
    return size


def _turned(data: bytes) -> bool:
    """Tell whether EXIF says that an image is to be turned."""
    if b'Exif' not in data[:64] and b'eXIf' not in data[:4096]:
        return False
    with open_image(io.BytesIO(data)) as image:
        return image.getexif().get(ExifTags.Base.Orientation, 1) != 1


def label_facts(
    image: LabeledImage,
    names: Sequence[str] | None,
    ignored: Sequence[int],
) -> ImageFacts:
    """Look at an image and its label map.

    Args:
        image: Where they are.
        names: The classes; None takes each value for one.
        ignored: Values of pixels without class.

    Returns:
        Size, pixels of each class, and what is wrong: a file that is missing
        or broken, different sizes, values that are no class, no class at
        all, or one alone.
    """
    findings: list[Finding] = []
    size, label = None, None
    try:
        size = read_size(image.image)
    except (OSError, ValueError) as error:
        findings.append(_unreadable('image', image.image, error))
    try:
        values, warning = image.read_label()
        label = as_map(values, size)
    except (OSError, ValueError) as error:
        findings.append(_unreadable('label', image.label, error))
    if label is None:
        return ImageFacts(size, {}, 0, tuple(findings))
    height, width = label.shape
    if size and size != (width, height):
        text = f'image {_shape(size)}, label {width}x{height}'
        findings.append(Finding(Kind.OTHER_SIZE, text))
    if warning:
        text = warning.removeprefix(f'label {image.label}: ')
        findings.append(Finding(Kind.NO_CLASS, text))
    counts = _count(label)
    without = sum(counts.pop(value, 0) for value in ignored)
    found = _values(counts, without, names)
    # The warning says more about such values.
    findings += [f for f in found if not warning or f.kind != Kind.NO_CLASS]
    return ImageFacts(size, counts, without, tuple(findings))


def _values(
    counts: dict[int, int], ignored: int, names: Sequence[str] | None
) -> list[Finding]:
    """Return what is wrong with the values of a label.

    Args:
        counts: Pixels of each value but those that are ignored; values that
            are no class are taken out.
        ignored: Pixels that are.
        names: The classes; None takes each value for one.
    """
    total = sum(counts.values()) + ignored
    end = None if names is None else len(names)
    wrong = [v for v in counts if v < 0 or (end is not None and v >= end)]
    if wrong:
        share = sum(map(counts.pop, wrong)) / total
        text = f'{share:.1%} with values that are no class: '
        return [Finding(Kind.NO_CLASS, text + listing(sorted(wrong)))]
    if not counts:
        return [Finding(Kind.IGNORED, 'every pixel is ignored')]
    if len(counts) > 1:
        return []
    [value] = counts
    rest = ', the rest is ignored' if ignored else ''
    name = f'class {value}' if names is None else names[value]
    return [Finding(Kind.EMPTY, f'nothing but {name}{rest}')]


def as_map(label: np.ndarray, size: tuple[int, int] | None) -> np.ndarray:
    """Return a label as a map of two axes.

    Args:
        label: Integers; MMSeg's loader gives one axis for an image of one
            row or column.
        size: Width and height of the image, if they are known.

    Returns:
        Integers (H, W).

    Raises:
        ValueError: It has several channels.
    """
    if label.ndim < 2 and size and label.size == size[0] * size[1]:
        return label.reshape(size[::-1])
    if label.ndim != 2 or not label.size:
        raise ValueError(
            f'a label of shape {label.shape}: expected one channel, of class '
            'indices'
        )
    return label


def _count(label: np.ndarray) -> dict[int, int]:
    """Return the number of pixels of each value."""
    if label.dtype == np.uint8:
        counts = np.bincount(label.ravel())
        values = np.flatnonzero(counts)
        counts = counts[values]
    else:
        values, counts = np.unique(label, return_counts=True)
    return dict(zip(values.tolist(), counts.tolist(), strict=True))


def _unreadable(
    what: str, path: Path | None, error: OSError | ValueError
) -> Finding:
    """Return the finding that a file is missing or broken, in few words."""
    if isinstance(error, FileNotFoundError):
        return Finding(Kind.UNREADABLE, f'the {what} is missing')
    text = ' '.join(str(error).split())
    if path is not None:
        text = text.replace(str(path), path.name)
    return Finding(Kind.UNREADABLE, text)


def coco_facts(
    path: Path,
    image: CocoImage,
    annotations: Sequence[Annotation],
    classes: Iterable[Any],
) -> ImageFacts:
    """Look at an image of a COCO file and its instances.

    Args:
        path: The file of the image.
        image: What the COCO file says of it.
        annotations: Its instances.
        classes: Ids of the categories that the COCO file lists; without any,
            all are right.

    Returns:
        Size, instances of each class, and what is wrong: a file that is
        missing or broken, another size than the COCO file says, classes that
        it does not list, instances without box and mask or that are there
        twice, masks that are broken, have no pixel or lie apart from their
        boxes, boxes that leave the image, have no area or are tiny, or no
        instances.
    """
    size, findings = None, []
    try:
        size = read_size(path)
    except (OSError, ValueError) as error:
        findings.append(_unreadable('image', path, error))
    counts = Counter(a.category_id for a in annotations)
    told = image.width, image.height
    if size and (told[0] or size[0], told[1] or size[1]) != size:
        text = (
            f'{_shape(size)} pixels, the COCO file says '
            f'{_number(told[0])}x{_number(told[1])}: its labels are not drawn'
        )
        findings.append(Finding(Kind.OTHER_SIZE, text))
        return ImageFacts(size, counts, 0, tuple(findings))
    listed = set(classes)
    unknown = set(counts) - (listed or set(counts)) - {None}
    if unknown:
        text = f'no category has the id {listing(sorted(map(str, unknown)))}'
        findings.append(Finding(Kind.NO_CLASS, text))
    if listed and counts[None]:
        text = f'{_counted(counts[None], "instance")} without category_id'
        findings.append(Finding(Kind.NO_CLASS, text))
    findings += _rows(annotations)
    if not annotations:
        findings.append(Finding(Kind.EMPTY, 'no instances'))
    if size:
        findings += _boxes(annotations, *size)
        findings += _masks(annotations, size[::-1])
    return ImageFacts(size, counts, 0, tuple(findings))


def _number(value: float | None) -> str:
    return '?' if value is None else f'{value:g}'


def _counted(count: int, what: str, plural: str = '') -> str:
    """Return a number of things in words."""
    return f'{count} {what if count == 1 else plural or f"{what}s"}'


def _rows(annotations: Sequence[Annotation]) -> list[Finding]:
    """Return what is wrong with instances, by what the file says alone."""
    empty = sum(not a.bbox and not a.segmentation for a in annotations)
    same = Counter(
        (a.category_id, msgspec.json.encode((a.bbox, a.segmentation)))
        for a in annotations
        if a.bbox or a.segmentation
    )
    twice = same.total() - len(same)
    return [
        Finding(Kind.BROKEN, f'{_counted(count, "instance")} {text}')
        for count, text in (
            (empty, 'with neither box nor mask'),
            (twice, f'the same as {"others" if twice > 1 else "another"}'),
        )
        if count
    ]


def _boxes(
    annotations: Sequence[Annotation], width: int, height: int
) -> list[Finding]:
    """Return what is wrong with boxes."""
    boxes = np.array([a.bbox for a in annotations if a.bbox]).reshape(-1, 4)
    left, top, across, down = boxes.T
    flat = (across <= 0) | (down <= 0)
    outside = (np.minimum(left, top) < -_ROUNDING) | (
        (left + across > width + _ROUNDING) | (top + down > height + _ROUNDING)
    )
    tiny = ~flat & (np.minimum(across, down) < _TINY)
    return [
        Finding(kind, f'{_counted(count, "box", "boxes")} {text}')
        for kind, which, text in (
            (Kind.BROKEN, flat, 'without area'),
            (Kind.BROKEN, outside & ~flat, 'out of the image'),
            (Kind.TINY, tiny, f'with a side below {_TINY} pixels'),
        )
        if (count := int(which.sum()))
    ]


def _masks(
    annotations: Sequence[Annotation], size: tuple[int, int]
) -> list[Finding]:
    """Return what is wrong with masks."""
    errors = []
    empty = apart = 0
    for annotation in annotations:
        if not annotation.segmentation:
            continue
        try:
            extent = mask_extent(annotation.segmentation, size)
        except ValueError as error:
            errors.append(str(error))
            continue
        empty += extent is None
        if extent and annotation.bbox:
            apart += _are_apart(annotation.bbox, extent)
    if empty:
        text = f'{_counted(empty, "mask")} without a pixel in the image'
        errors.append(text)
    if apart:
        text = f'{_counted(apart, "box", "boxes")} apart from the own mask'
        errors.append(text)
    return [Finding(Kind.BROKEN, text) for text in dict.fromkeys(errors)]


def _are_apart(
    box: Sequence[float], extent: tuple[float, float, float, float]
) -> bool:
    """Tell whether a box and a mask do not meet, but for rounding."""
    left, top, width, height = box
    return (
        max(left, extent[0]) > min(left + width, extent[2]) + _ROUNDING
        or max(top, extent[1]) > min(top + height, extent[3]) + _ROUNDING
    )


def find_odd(
    facts: Sequence[ImageFacts], names: Mapping[Any, str]
) -> list[tuple[Finding, ...]]:
    """Tell what is odd about each image among all.

    Args:
        facts: Those of all images.
        names: The classes by what ``counts`` has for them.

    Returns:
        The findings of each image, the worst first: its own; a size that most
        others do not have, if most have the same; and classes that no more
        than a tenth of the images have. Where no image has another class
        than 0, those with ignored pixels have a mend for masks of 0 and 255.
    """
    sizes = Counter(fact.size for fact in facts if fact.size)
    images = _images(facts)
    usual = max(sizes, key=sizes.__getitem__, default=None)
    most = usual is not None and sizes[usual] > _MOST * len(facts)
    found = []
    for size, counts, ignored, findings in facts:
        odd = list(findings)
        if ignored and set(images) == {0}:
            odd = list(map(_with_mend, odd))
        if most and usual and size and size != usual:
            text = f'size {_shape(size)}, most are {_shape(usual)}'
            odd.append(Finding(Kind.ODD_SIZE, text))
        rare = [
            f'{names.get(key, key)} ({images[key]} of {len(facts)} images)'
            for key in sorted(counts, key=images.__getitem__)
            if images[key] <= _RARE * len(facts)
        ]
        if rare:
            odd.append(Finding(Kind.RARE, f'rare: {listing(rare, 3)}'))
        found.append(tuple(sorted(odd, key=lambda finding: finding.kind)))
    return found


def _with_mend(finding: Finding) -> Finding:
    """Add to an empty label what to do if it is one of 0 and 255."""
    if finding.kind != Kind.EMPTY:
        return finding
    mend = 'if 255 is a class here, save the masks with 1 in its place'
    return finding._replace(text=f'{finding.text}; {mend}')


def worst_first(
    facts: Sequence[ImageFacts], found: Sequence[Sequence[Finding]]
) -> list[int]:
    """Return the positions of the images in the order to look at them.

    Args:
        facts: Those of all images.
        found: The findings of each, as from :func:`find_odd`.

    Returns:
        First those with findings, by their worst kind; then, and among
        equals, those with the class that the fewest images have.
    """
    images = _images(facts)

    def key(index: int) -> tuple[int, int, int]:
        findings, counts = found[index], facts[index].counts
        kind = findings[0].kind if findings else len(Kind)
        least = min((images[each] for each in counts), default=len(facts))
        return kind, least, index

    return sorted(range(len(facts)), key=key)


def _images(facts: Sequence[ImageFacts]) -> Counter[Any]:
    """Return how many images have each class."""
    return Counter(key for fact in facts for key in fact.counts)


def _shape(size: tuple[int, int]) -> str:
    return f'{size[0]}x{size[1]}'
