"""Contact sheets of images with label maps."""

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from mmseg_ext.formats.image_facts import (
    Finding,
    ImageFacts,
    Kind,
    LabeledImage,
    as_map,
    find_odd,
    label_facts,
    look_through,
)
from mmseg_ext.formats.mask_folders import LabeledSet
from mmseg_ext.utils.files import read_file
from mmseg_ext.utils.images import decode_image
from mmseg_ext.utils.text import printable
from mmseg_ext.visualization.contact_sheets import (
    Legend,
    SheetOptions,
    Tile,
    check_out_dir,
    choose,
    distinct_color,
    images_text,
    load_failed,
    shrink,
    size_text,
    write_sheets,
)
from mmseg_ext.visualization.patterns import IGNORED, STRANGE, squares

__all__ = ['draw_label_map', 'draw_mask_sheets']

#: Share of a class's color in what is seen, and that of patterns.
_OPACITY, _OPACITY_OF_PATTERNS = 0.45, 0.8

#: Stands for an image that cannot be read.
_GRAY = 128

#: Height and width of a pattern in the legend.
_SWATCH = (15, 15)


def draw_mask_sheets(
    labeled: LabeledSet,
    out_dir: str | os.PathLike[str],
    options: SheetOptions | None = None,
) -> list[Path]:
    """Draw images with their label maps, some on a sheet.

    Classes have their colors; ignored pixels have squares of two grays, and
    values that are no class red and white ones. Under each image are its size
    and the shares of its classes, and what is wrong or odd: see
    :class:`~mmseg_ext.formats.image_facts.Kind`. The first sheet begins with
    a legend: the share of each class in all pixels that have one, and the
    number of images that have it.

    Args:
        labeled: The images.
        out_dir: Gets ``<name of the set>_001.jpg`` and so on.
        options: Which images, and in which order; by default all, the worst
            first.

    Returns:
        Paths of the sheets, in the order of the images.

    Raises:
        ValueError: An option is out of range, there are no images, none of
            them can be shown with a label, or ``out_dir`` lies where images
            are looked for.
    """
    options = options or SheetOptions()
    options.check()
    if not labeled.images:
        raise ValueError(f'{labeled.name} has no images')
    out_dir = Path(out_dir)
    files = (file for i in labeled.images for file in (i.image, i.label))
    inputs = filter(None, files)
    check_out_dir(out_dir, labeled.name, inputs, labeled.folders)
    facts = look_through(
        partial(label_facts, names=labeled.names, ignored=labeled.ignored),
        labeled.images,
        options.progress,
    )
    if fault := load_failed(facts, labeled.name):
        raise ValueError(fault)
    classes = _Classes(labeled, facts)
    found = find_odd(facts, classes.names)
    order = choose([i.name for i in labeled.images], facts, found, options)
    jobs = [
        partial(_tile, labeled.images[k], facts[k], found[k], classes)
        for k in order
    ]
    legend = classes.legend(labeled.name, facts)
    return write_sheets(out_dir, labeled.name, jobs, options, legend)


class _Classes:
    """Names and colors of the classes of a set.

    Args:
        labeled: The set.
        facts: Those of its images; where there is no list of classes, their
            values are the classes.
    """

    def __init__(
        self, labeled: LabeledSet, facts: Sequence[ImageFacts]
    ) -> None:
        if labeled.names is None:
            values = sorted({key for fact in facts for key in fact.counts})
            self.names = {value: f'class {value}' for value in values}
        else:
            self.names = dict(enumerate(labeled.names))
        self.colors = {
            key: distinct_color(number)
            for number, key in enumerate(self.names)
        }
        if labeled.palette:
            for key, (red, green, blue) in enumerate(labeled.palette):
                self.colors[key] = red, green, blue
        self.ignored = labeled.ignored

    def legend(self, name: str, facts: Sequence[ImageFacts]) -> Legend:
        """Return the legend, with what all images have of each class."""
        pixels: Counter[int] = Counter()
        images: Counter[int] = Counter()
        for fact in facts:
            pixels.update(fact.counts)
            images.update(fact.counts.keys())
        total = max(1, pixels.total())
        entries = [
            (
                np.full((1, 1, 3), self.colors[key], np.uint8),
                f'{printable(name)}  {pixels[key] / total:.2%} in '
                f'{images[key]}'
                if images[key]
                else f'{printable(name)}  absent',
            )
            for key, name in self.names.items()
        ]
        if ignored := sum(fact.ignored > 0 for fact in facts):
            square = squares(_SWATCH, IGNORED)
            entries.append((square, f'ignored  in {ignored}'))
        kinds = [{f.kind for f in fact.findings} for fact in facts]
        if wrong := sum(Kind.NO_CLASS in found for found in kinds):
            square = squares(_SWATCH, STRANGE)
            entries.append((square, f'no class  in {wrong}'))
        return Legend(
            f'{printable(name)}: {images_text(len(facts))}. Of each class its '
            'share of the labeled pixels, and the number of images that it is '
            'in',
            entries,
        )


def draw_label_map(
    canvas: np.ndarray,
    labels: np.ndarray,
    colors: Mapping[int, tuple[int, int, int]],
    ignored: Sequence[int],
) -> None:
    """Draw a label map on an image, in place.

    Ignored pixels have squares of two grays, and values that are no class red
    and white ones.

    Args:
        canvas: uint8 RGB, (h, w, 3).
        labels: Integers (H, W), brought to the size of the image.
        colors: RGB of each class.
        ignored: Values of pixels to ignore.
    """
    size = canvas.shape[1::-1]
    kind = np.uint8 if labels.dtype == np.uint8 else np.float64
    shown = cv2.resize(
        labels.astype(kind), size, interpolation=cv2.INTER_NEAREST
    ).astype(labels.dtype)
    table = np.zeros((max(colors, default=0) + 1, 3), np.float32)
    for key, color in colors.items():
        table[key] = color
    ignore = np.isin(shown, ignored)
    known = np.isin(shown, list(colors)) & ~ignore
    painted = table[np.where(known, shown, 0)]
    opacity = np.where(known, _OPACITY, _OPACITY_OF_PATTERNS)
    opacity[_edges(shown)] = 1
    for where, pair in ((ignore, IGNORED), (~known & ~ignore, STRANGE)):
        if where.any():
            painted[where] = squares(shown.shape, pair)[where]
    canvas[:] = canvas + opacity[..., None] * (painted - canvas)


def _edges(labels: np.ndarray) -> np.ndarray:
    """Return which pixels have another label to the right or below."""
    edges = np.zeros(labels.shape, bool)
    edges[:, :-1] |= labels[:, :-1] != labels[:, 1:]
    edges[:-1] |= labels[:-1] != labels[1:]
    return edges


def _tile(
    image: LabeledImage,
    facts: ImageFacts,
    findings: Sequence[Finding],
    classes: _Classes,
) -> Tile:
    """Draw an image with its label."""
    pixels, labels, errors = None, None, []
    try:
        data = read_file(image.image)
        pixels = decode_image(data, image.image.name)[..., ::-1]
    except (OSError, ValueError) as error:
        errors.append(str(error))
    try:
        labels = as_map(image.read_label()[0], facts.size)
    except (OSError, ValueError) as error:
        errors.append(str(error))
    texts = [finding.text for finding in findings]
    # That a file is cut off may be seen when it is decoded.
    if all(finding.kind != Kind.UNREADABLE for finding in findings):
        texts = errors + texts
    if pixels is None:
        shape = (3, 4) if labels is None else labels.shape
        pixels = np.full((*shape, 3), _GRAY, np.uint8)
    canvas = shrink(pixels)[0]
    if labels is not None:
        colors = {key: classes.colors[key] for key in classes.names}
        draw_label_map(canvas, labels, colors, classes.ignored)
    return Tile(
        Image.fromarray(canvas),
        printable(image.name),
        ', '.join([size_text(facts), *_shares(facts, classes.names)]),
        '; '.join(texts),
    )


def _shares(facts: ImageFacts, names: Mapping[int, str]) -> list[str]:
    """Return the classes of an image with their share, the largest first."""
    counts = Counter(facts.counts)
    total = max(1, counts.total() + facts.ignored)
    texts = [
        f'{printable(names[key])}: {count / total:.1%}'
        for key, count in counts.most_common()
    ]
    if facts.ignored:
        texts.append(f'ignored: {facts.ignored / total:.1%}')
    return texts
