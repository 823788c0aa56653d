"""What the page shows in numbers: classes, where they lie, sizes, colors."""

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

import cv2
import numpy as np

from mmseg_ext.doctor.case import Case
from mmseg_ext.doctor.instances import Instance, instances_of
from mmseg_ext.doctor.parts import GRID, LabelScan, Part, Sample
from mmseg_ext.utils.class_weights import class_weights
from mmseg_ext.visualization.contact_sheets import distinct_color
from mmseg_ext.visualization.web_page import (
    Bar,
    BarChart,
    Cell,
    Dot,
    DotChart,
    Picture,
    Table,
    hex_color,
    number_cell,
    png_uri,
)

__all__ = [
    'SplitNumbers',
    'absent_classes',
    'box_chart',
    'class_chart',
    'class_colors',
    'class_table',
    'color_table',
    'count_splits',
    'names_of',
    'occurrence_matrix',
    'size_chart',
    'size_table',
    'where_maps',
]

#: Classes that a chart, a matrix and maps have room for; the largest are
#: shown. Data sets have up to 150 (ADE20K) and more.
_CHART, _MATRIX, _MAPS = 40, 30, 40

#: Sizes and forms of images that are listed, and dots of a split in a chart.
_SIZES, _FORMS, _DOTS = 200, 3, 300


@dataclass
class SplitNumbers:
    """What the samples of a split hold together.

    Attributes:
        name: Of the split, or of two that are the same data.
        pixels: Of each class, by its index in all names.
        images: That have the class, by the same.
        labels: Images whose label was counted.
        ignored: Pixels to ignore.
        strange: Pixels of values that are no class.
        together: Images that have one class (row) and another (column).
        where: Labels that have a class (row) at a place (column).
        counts: Pixels of each class, of each label map.
        instances: Of each class.
        sides: Instances by the power of two below the root of their area.
        sizes: Images by width and height.
        forms: Images by format.
        mean: Mean of red, green and blue, of each image.
        deviation: Their deviations.
        total: Images, also those that were not looked at.
    """

    name: str
    num_classes: int
    pixels: Counter[int] = field(default_factory=Counter)
    images: Counter[int] = field(default_factory=Counter)
    labels: int = 0
    ignored: int = 0
    strange: int = 0
    sizes: Counter[tuple[int, int]] = field(default_factory=Counter)
    forms: Counter[str] = field(default_factory=Counter)
    mean: list[tuple[float, ...]] = field(default_factory=list)
    deviation: list[tuple[float, ...]] = field(default_factory=list)
    total: int = 0
    counts: list[np.ndarray] = field(default_factory=list)
    instances: Counter[int] = field(default_factory=Counter)
    sides: Counter[int] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        shape = self.num_classes, self.num_classes
        self.together = np.zeros(shape, np.int64)
        self.where = np.zeros((self.num_classes, GRID * GRID), np.int64)

    def add(
        self, sample: Sample, classes: dict[int, int], ignore: int
    ) -> None:
        """Count a sample.

        Args:
            sample: It.
            classes: Index in all names by label.
            ignore: The label of pixels without class.
        """
        image, label = sample.image, sample.label
        if image.size is not None:
            self.sizes[image.size] += 1
            self.forms[image.form] += 1
            self.mean.append(image.mean)
            self.deviation.append(image.deviation)
        if label is not None and label.loaded is not None:
            self._add_label(label, label.loaded, classes, ignore)

    def _add_label(
        self,
        label: LabelScan,
        loaded: dict[int, int],
        classes: dict[int, int],
        ignore: int,
    ) -> None:
        counts = np.zeros(self.num_classes, np.int64)
        for value, pixels in loaded.items():
            if value == ignore:
                self.ignored += pixels
            elif value in classes:
                self.pixels[classes[value]] += pixels
                counts[classes[value]] += pixels
            else:
                self.strange += pixels
        self.counts.append(counts)
        self._add_presence(np.flatnonzero(counts))
        if len(label.grid) == GRID * GRID:
            table = np.full(256, -1)
            for value, index in classes.items():
                if 0 <= value < len(table) and value != ignore:
                    table[value] = index
            rows = table[np.frombuffer(label.grid, np.uint8)]
            places = np.flatnonzero(rows >= 0)
            self.where[rows[places], places] += 1

    def _add_presence(self, present: np.ndarray) -> None:
        """Count an image that has some classes."""
        self.labels += 1
        self.images.update(present.tolist())
        self.together[np.ix_(present, present)] += 1

    def add_instances(
        self,
        instances: Sequence[Instance],
        classes: dict[int, int],
        size: tuple[int, int],
    ) -> None:
        """Count the instances of an image.

        Args:
            instances: Them.
            classes: Index in all names by label.
            size: Width and height of the image.
        """
        there = np.zeros((self.num_classes, GRID, GRID), bool)
        present = set()
        for label, box, *_ in instances:
            if label not in classes:
                self.strange += 1
                continue
            index = classes[label]
            present.add(index)
            self.instances[index] += 1
            left, top, width, height = box
            if width > 0 and height > 0:
                side = math.sqrt(width * height)
                self.sides[max(0, math.floor(math.log2(side)))] += 1
            there[index][
                _cells(top, height, size[1]), _cells(left, width, size[0])
            ] = True
        self._add_presence(np.array(sorted(present), int))
        self.where += there.reshape(self.where.shape)

    def share(self, index: int) -> float:
        """Return the share of a class in the pixels of all, in percent.

        Args:
            index: Of the class.
        """
        return 100 * self.pixels[index] / max(1, self.pixels.total())


def _cells(start: float, length: float, whole: int) -> slice:
    """Return the places of a grid that a side of a box covers."""
    ends = (
        min(max(math.floor(GRID * end / max(whole, 1)), 0), GRID - 1)
        for end in (start, start + length)
    )
    first, last = ends
    return slice(first, last + 1)


def names_of(part: Part) -> list[str]:
    """Return the names of the classes of a data set.

    Args:
        part: The data set, of which users may have others than texts.
    """
    return [*map(str, part.classes)]


def count_splits(case: Case) -> tuple[list[str], list[SplitNumbers]]:
    """Count what the samples of a case hold.

    Args:
        case: The case. A split of the same data as one before it, as most
            configs have them for tests, is counted with that.

    Returns:
        The names of all classes, and the splits.
    """
    names = list(
        dict.fromkeys(name for part in case.parts for name in names_of(part))
    )
    number = {name: index for index, name in enumerate(names)}
    found: dict[tuple, SplitNumbers] = {}
    for split in case.splits.values():
        key = tuple(_identity(part) for part in split.parts)
        if key in found:
            found[key].name += f' and {split.name}'
            continue
        numbers = found[key] = SplitNumbers(split.name, len(names))
        for part in split.parts:
            numbers.total += part.total
            classes = {
                k: number[name] for k, name in enumerate(names_of(part))
            }
            for sample in part.samples:
                numbers.add(sample, classes, part.ignore_index)
                if not case.semantic and sample.image.size is not None:
                    found_there = instances_of(part, sample.place.position)
                    numbers.add_instances(
                        found_there, classes, sample.image.size
                    )
    return names, list(found.values())


def _identity(part: Part) -> tuple:
    """Return what two data sets of the same files have alike."""
    first = next(iter(part.samples), None)
    # Data sets without samples are told apart.
    place = id(part) if first is None else first.place
    return part.total, len(part.samples), place, part.classes


def class_colors(
    case: Case, names: Sequence[str]
) -> list[tuple[int, int, int]]:
    """Return a color of each class, RGB: of a palette, else one of ours.

    Args:
        case: The case.
        names: Of all classes.
    """
    colors: dict[str, tuple[int, int, int]] = {}
    # Contact sheets of instances take none of a palette.
    for part in case.parts if case.semantic else ():
        info = getattr(part.dataset, 'metainfo', None) or {}
        given = {
            **(getattr(part.dataset, 'METAINFO', None) or {}),
            **(part.cfg.get('metainfo') or {}),
        }
        # For want of a palette MMSeg rolls dice for colors.
        palette = info.get('palette') if given.get('palette') else None
        if not isinstance(palette, list | tuple):
            continue
        for name, color in zip(names_of(part), palette, strict=False):
            # What is no color is left out, as anything may stand there.
            with suppress(TypeError, ValueError):
                red, green, blue = bytes(map(int, color))
                colors.setdefault(name, (red, green, blue))
    # Classes of one color cannot be told apart.
    if len(set(colors.values())) < len(names):
        return [distinct_color(number) for number in range(len(names))]
    return [colors[name] for name in names]


def _largest(splits: Sequence[SplitNumbers], most: int) -> list[int]:
    """Return the largest classes that occur, in the order of their numbers."""
    total: Counter[int] = Counter()
    for split in splits:
        total.update(split.pixels)
        total.update(split.instances)
    return sorted(index for index, _ in total.most_common(most))


def absent_classes(
    names: Sequence[str], splits: Sequence[SplitNumbers]
) -> list[str]:
    """Return the classes that no label has, if there are labels.

    Args:
        names: Of all classes.
        splits: What they hold.
    """
    there = {index for split in splits for index in split.images}
    if not there:
        return []
    return [name for index, name in enumerate(names) if index not in there]


def class_chart(
    names: Sequence[str],
    colors: Sequence[Sequence[int]],
    splits: Sequence[SplitNumbers],
) -> BarChart | None:
    """Return the histogram of labels or instances, by class and split.

    Args:
        names: Of all classes.
        colors: Of each, RGB.
        splits: What they hold.

    Returns:
        None if there are none.
    """
    splits = [split for split in splits if split.labels]
    shown = _largest(splits, _CHART)
    if not shown:
        return None
    which = f' of the {_CHART} largest' if len(shown) == _CHART else ''
    semantic = any(split.pixels for split in splits)
    what = (
        f'Share of each class{which} in the labeled pixels'
        if semantic
        else f'Instances of each class{which}'
    )
    bars = []
    for index in shown:
        values = [
            split.share(index) if semantic else split.instances[index]
            for split in splits
        ]
        texts = [
            'absent'
            if not value
            else _percent(value)
            if semantic
            else f'{value:,}'
            for value in values
        ]
        color = hex_color(colors[index])
        bars.append(Bar(names[index], values, texts, color))
    return BarChart(
        f'{what}; the scale is logarithmic',
        [split.name for split in splits],
        bars,
        '%' if semantic else '',
        log=True,
    )


def class_table(
    names: Sequence[str],
    colors: Sequence[Sequence[int]],
    splits: Sequence[SplitNumbers],
) -> Table | None:
    """Return the numbers of each class.

    Args:
        names: Of all classes.
        colors: Of each, RGB.
        splits: What they hold. Labels of the training suggest weights.

    Returns:
        None if there are no labels.
    """
    splits = [split for split in splits if split.labels]
    if not names or not splits:
        return None
    semantic = any(split.pixels for split in splits)
    what = (
        ('pixels', 'share', 'images') if semantic else ('instances', 'images')
    )
    heads = [f'{split.name}: {each}' for split in splits for each in what]
    rows = [
        [
            Cell(str(index), index),
            Cell(name, color=hex_color(colors[index]), kind='wide'),
            *(
                cell
                for split in splits
                for cell in _class_cells(split, index, semantic)
            ),
        ]
        for index, name in enumerate(names)
    ]
    if splits[0].name.startswith('train') and splits[0].pixels:
        heads.append('suggested weight')
        weights = class_weights(np.array(splits[0].counts)).tolist()
        for index, row in enumerate(rows):
            there = splits[0].pixels[index]
            text = f'{weights[index]:.3g}'
            row.append(Cell(text, weights[index]) if there else Cell(''))
    return Table(
        'Pixels of each class, their share in the labeled pixels, and the '
        'images that have the class'
        if semantic
        else 'Instances of each class, and the images that have one',
        ['no.', 'class', *heads],
        rows,
    )


def _class_cells(
    split: SplitNumbers, index: int, semantic: bool
) -> Iterator[Cell]:
    """Yield what a split has of a class."""
    if semantic:
        share = split.share(index)
        yield number_cell(split.pixels[index])
        yield Cell(_percent(share), share)
    else:
        yield number_cell(split.instances[index])
    yield number_cell(split.images[index])


def box_chart(splits: Sequence[SplitNumbers]) -> BarChart | None:
    """Return how large the boxes of instances are.

    Args:
        splits: What they hold.

    Returns:
        None if there are none.
    """
    splits = [split for split in splits if split.instances]
    powers = {power for split in splits for power in split.sides}
    if not powers:
        return None
    bars = []
    for power in range(min(powers), max(powers) + 1):
        values = [split.sides[power] for split in splits]
        name = f'{2**power if power else 0} to {2 ** (power + 1)} pixels'
        bars.append(Bar(name, values, [f'{value:,}' for value in values]))
    return BarChart(
        'Instances by the side of a square as large as their box, in the file',
        [split.name for split in splits],
        bars,
    )


def _percent(share: float) -> str:
    """Return a share in percent, with two digits that say something."""
    if share == 0:
        return '0 %'
    digits = max(0, 1 - math.floor(math.log10(share)))
    return f'{share:.{min(digits, 6)}f} %'


def occurrence_matrix(
    names: Sequence[str],
    colors: Sequence[Sequence[int]],
    splits: Sequence[SplitNumbers],
) -> Table | None:
    """Return how often a class is in the images of another.

    Args:
        names: Of all classes.
        colors: Of each, RGB.
        splits: What they hold.

    Returns:
        None if there are fewer than two classes.
    """
    together = sum((split.together for split in splits), np.zeros((), int))
    shown = _largest(splits, _MATRIX)
    if len(shown) < 2:
        return None
    rows = []
    for index in shown:
        images = int(together[index, index])
        row = [Cell(names[index], color=hex_color(colors[index]))]
        for other in shown:
            if not images:
                row.append(Cell(''))
                continue
            share = together[index, other] / images
            row.append(
                Cell(f'{100 * share:.0f}', kind=f'heat{share * 10:.0f}')
            )
        rows.append(row)
    return Table(
        'Of the images that have the class of a row, how many percent have '
        'that of a column',
        [names[index] for index in shown],
        rows,
    )


def where_maps(
    names: Sequence[str], splits: Sequence[SplitNumbers]
) -> list[Picture]:
    """Return where in the images each class lies.

    Args:
        names: Of all classes.
        splits: What they hold.
    """
    where = sum((split.where for split in splits), np.zeros((), int))
    labels = sum(split.labels for split in splits)
    pictures = []
    for index in _largest(splits, _MAPS):
        counts = where[index].reshape(GRID, GRID)
        most = int(counts.max())
        # What is small may lie between the places that were looked at.
        if not most:
            continue
        levels = np.round(255 * counts / most).astype(np.uint8)
        heat = cv2.applyColorMap(levels, cv2.COLORMAP_VIRIDIS)[..., ::-1]
        row, column = np.unravel_index(int(counts.argmax()), counts.shape)
        most_text = f'in {100 * most / labels:.0f} % at most'
        pictures.append(
            Picture(
                [png_uri(heat)],
                [
                    f'{names[index]} lies most often at '
                    f'{(column + 0.5) / GRID:.0%} of the width and '
                    f'{(row + 0.5) / GRID:.0%} of the height'
                ],
                names[index],
                most_text,
            )
        )
    return pictures


def size_chart(splits: Sequence[SplitNumbers]) -> DotChart | None:
    """Return the sizes of all images.

    Args:
        splits: What they hold.

    Returns:
        None if there are fewer than two sizes.
    """
    sizes = {size for split in splits for size in split.sizes}
    if len(sizes) < 2:
        return None
    dots = [
        Dot(*size, images, number, f'{_size(size)}: {images} of {split.name}')
        for number, split in enumerate(splits)
        for size, images in split.sizes.most_common(_DOTS)
    ]
    some = (
        f' (the {_DOTS} most frequent of each split)'
        if any(len(split.sizes) > _DOTS for split in splits)
        else ''
    )
    return DotChart(
        f'Sizes of the images{some}; a dot is as large as many images have '
        'that size',
        ('width in pixels', 'height in pixels'),
        [split.name for split in splits],
        sorted(dots, key=lambda dot: -dot.amount),
    )


def size_table(splits: Sequence[SplitNumbers]) -> Table | None:
    """Return how many images have which size.

    Args:
        splits: What they hold.

    Returns:
        None if no image was read.
    """
    sizes: Counter[tuple[int, int]] = Counter()
    for split in splits:
        sizes.update(split.sizes)
    if not sizes:
        return None
    rows = [
        [
            Cell(_size(size), size[0] * size[1]),
            *(number_cell(split.sizes[size]) for split in splits),
        ]
        for size, _ in sizes.most_common(_SIZES)
    ]
    return Table(
        'Images by size, as loaders see them',
        ['width x height', *(split.name for split in splits)],
        rows,
        max(0, len(sizes) - _SIZES),
    )


def _size(size: tuple[int, int]) -> str:
    return f'{size[0]}x{size[1]}'


def color_table(splits: Sequence[SplitNumbers]) -> Table | None:
    """Return forms and colors of the images of each split.

    Args:
        splits: What they hold.

    Returns:
        None if no image was read.
    """
    rows = []
    for split in splits:
        if not split.sizes:
            continue
        mean = np.mean(split.mean, axis=0)
        # Of all pixels: within the images and between them.
        square = np.square(split.deviation) + np.square(split.mean)
        variance = np.mean(square, axis=0) - mean**2
        deviation = np.sqrt(np.maximum(variance, 0))
        forms = [
            f'{form} ({images:,})'
            for form, images in split.forms.most_common(_FORMS)
        ]
        rest = len(split.forms) - len(forms)
        if rest:
            forms.append(f'{rest} more')
        rows.append(
            [
                Cell(split.name),
                number_cell(split.sizes.total()),
                Cell(', '.join(forms), kind='wide'),
                Cell(', '.join(f'{value:.1f}' for value in mean)),
                Cell(', '.join(f'{value:.1f}' for value in deviation)),
            ]
        )
    if not rows:
        return None
    return Table(
        'What was measured: formats, and means and standard deviations of '
        'red, green and blue (0 to 255) at an eighth of the size',
        ['split', 'images read', 'format', 'mean', 'standard deviation'],
        rows,
    )
