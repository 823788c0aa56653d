"""What formats share whose files hold objects one by one, as shapes."""

import abc
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from mmseg_ext.formats.color_masks import (
    BACKGROUND_NAMES,
    IGNORE_INDEX,
    Color,
    voc_color,
)
from mmseg_ext.formats.exports.class_lists import (
    has_no_class,
    listed_classes,
)
from mmseg_ext.formats.exports.export import (
    Classes,
    Export,
    Folder,
    InvalidExportError,
    Picture,
    Tally,
)
from mmseg_ext.formats.exports.regions import Region, painted

__all__ = ['Shapes', 'classes_of', 'shape_classes']


@dataclass(frozen=True)
class Shapes(Export):
    """A folder of a format whose files hold shapes.

    Label maps are drawn: later shapes lie over earlier ones, and what is in
    none is background.

    Attributes:
        classes: The classes.
        indices: Index of the class of each name that the format lists, in its
            order; 255 for names of what has no label, such as void.
    """

    classes: Classes
    indices: Mapping[str, int] = field(default_factory=dict, kw_only=True)

    @abc.abstractmethod
    def shapes(self, picture: Picture) -> tuple[tuple[int, int], list[Region]]:
        """Read the labels of a picture, and check them.

        Returns:
            Width and height, and all shapes in their order; the category of
            those without label is 255.

        Raises:
            OSError: As for :meth:`tally`.
            ValueError: As for :meth:`tally`.
        """

    def tally(self, picture: Picture) -> Tally:
        """Count the pixels of each class in the label map."""
        labels = self.label_map(picture)
        counts = np.bincount(labels.ravel(), minlength=IGNORE_INDEX + 1)
        height, width = labels.shape
        return Tally(
            (width, height),
            {int(key): int(counts[key]) for key in np.flatnonzero(counts)},
        )

    def label_map(self, picture: Picture) -> np.ndarray:
        """Draw the shapes; see :meth:`Export.label_map`."""
        size, shapes = self.shapes(picture)
        return painted(shapes, size, self.classes.background or 0)

    def regions(self, picture: Picture) -> list[Region]:
        """Return the shapes that are objects; see :meth:`Export.regions`."""
        _, shapes = self.shapes(picture)
        objects = self.classes.objects
        return [shape for shape in shapes if shape.category in objects]


def classes_of(
    folder: Folder,
    file: str,
    names: Sequence[str],
    colors: Sequence[Color | None] = (),
) -> tuple[Classes, dict[str, int]]:
    """Return the classes that a file lists, or the list that the user gave.

    Args:
        folder: The user's.
        file: Path of the file in it, for messages.
        names: See :func:`shape_classes`.
        colors: See :func:`shape_classes`.

    Returns:
        See :func:`shape_classes`.

    Raises:
        InvalidExportError: They are not right.
    """
    if folder.class_list is not None:
        names, colors = listed_classes(folder.class_list).names, ()
    try:
        return shape_classes(names, colors)
    except ValueError as error:
        raise InvalidExportError(
            folder.class_list or folder.root / file,
            f'{error}: name each class once',
        ) from None


def shape_classes(
    names: Sequence[str], colors: Sequence[Color | None] = ()
) -> tuple[Classes, dict[str, int]]:
    """Return the classes of label maps that are drawn from shapes.

    The background comes first, unless one of the names is that of it. Names
    of what has no label are no classes.

    Args:
        names: As a format lists them.
        colors: Of each name, 0 to 255; None, or without any, for that of
            VOC's palette.

    Returns:
        The classes, and the index of the class of each name, or 255.

    Raises:
        ValueError: There is no name, one is empty or repeats, or there are
            too many.
    """
    given = dict(zip(names, colors, strict=True)) if colors else {}
    if not all(names):
        raise ValueError(f'class {names.index("")} has no name')
    [(most, count)] = Counter(names).most_common(1) or [('', 1)]
    if count > 1:
        raise ValueError(f'{count} classes are called {most!r}')
    classes = [name for name in names if not has_no_class(name)]
    if not classes:
        raise ValueError('it lists no classes')
    is_background = [name.lower() in BACKGROUND_NAMES for name in classes]
    if not any(is_background):
        classes.insert(0, 'background')
        is_background.insert(0, True)
    if len(classes) > IGNORE_INDEX:
        raise ValueError(
            f'{len(classes)} classes with the background; expected at most '
            f'{IGNORE_INDEX}'
        )
    palette = [
        given.get(name) or voc_color(index)
        for index, name in enumerate(classes)
    ]
    indices = {name: index for index, name in enumerate(classes)}
    return (
        Classes(tuple(classes), tuple(palette), is_background.index(True)),
        {name: indices.get(name, IGNORE_INDEX) for name in names},
    )
