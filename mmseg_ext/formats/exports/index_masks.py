"""Images beside masks whose grays or entries of a palette are classes."""

import itertools
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import cv2
import numpy as np
from pycocotools import mask as coco_mask

from mmseg_ext.formats.color_masks import (
    IGNORE_INDEX,
    check_classes,
    voc_color,
)
from mmseg_ext.formats.exports.class_lists import ClassList, has_no_class
from mmseg_ext.formats.exports.export import (
    Annotated,
    Classes,
    Folder,
    InvalidExportError,
    Masks,
    Picture,
    Tally,
)
from mmseg_ext.formats.exports.mask_trees import (
    MADE,
    ClassRows,
    MaskTree,
    labels_to_write,
)
from mmseg_ext.formats.exports.pairing import (
    BLACK_AND_WHITE,
    NEAR,
    Look,
    find_pairs,
    gray_shares,
    is_colorful,
)
from mmseg_ext.formats.exports.pictures import claim, place_image
from mmseg_ext.formats.exports.regions import Region
from mmseg_ext.formats.masks import Mask, read_mask
from mmseg_ext.utils.files import (
    write_bytes,
    write_text,
)
from mmseg_ext.utils.images import encode_labels
from mmseg_ext.utils.text import listing

__all__ = ['IndexMasks', 'mask_places', 'write']

_WHITE = 255

#: Brighter pixels of masks with blended edges are white.
_THRESHOLD = 127

#: Parts with fewer pixels are specks, where a format changed pixels.
_SPECK = 20

#: More values without a list may be those of blended edges.
_MOST = 64

#: What black and white masks without a list show.
_TWO = ('background', 'object')


@dataclass(frozen=True)
class IndexMasks(MaskTree):
    """A folder of images and index masks.

    Attributes:
        listed: The list of classes; None without any.
        class_file: Where it is.
        drawn: Whether masks are black and white with blended edges, as JPEG
            leaves them: what is brighter than 127 is white.
    """

    NAME = 'index-masks'
    TITLE = 'index masks'

    listed: ClassList | None = field(default=None, kw_only=True)
    class_file: Path | None = field(default=None, kw_only=True)
    drawn: bool = field(default=False, kw_only=True)

    @classmethod
    def found(cls, folder: Folder) -> 'IndexMasks | None':
        """Return what is in a folder; see :meth:`Export.found`.

        An image and its mask have names that are alike; the list of classes
        lies beside the masks or further above.
        """
        pairs = find_pairs(folder, 'index')
        if pairs is None:
            return None
        _check_blended(folder, pairs.looks)
        listed = pairs.classes
        few = listed is None or len(listed.names) < 3
        drawn = any(look.lossy for look in pairs.looks) or (
            few and any(look.smooth for look in pairs.looks)
        )
        values = {key for look in pairs.looks for key in look.keys}
        held, known = _values_in_words(sorted(values)), False
        if drawn:
            held = (
                'black and white with blended edges, brighter than '
                f'{_THRESHOLD} is white'
            )
        elif listed:
            rows = listed.values or range(len(listed.names))
            known = values <= {*rows, IGNORE_INDEX}
        return cls(
            folder.root,
            pairs.pictures,
            None,
            (*pairs.told(held, known), pairs.evidence),
            None if drawn else Masks(label_map={}),
            ignored=pairs.ignored,
            listed=listed,
            class_file=pairs.class_file,
            drawn=drawn,
        )

    def with_rows(self, rows: ClassRows) -> 'IndexMasks':
        """Return it with its classes."""
        settled = super().with_rows(rows)
        if self.drawn:
            return replace(settled, masks=None)
        stay = all(value == index for value, index in rows.indices.items())
        return replace(
            settled, masks=Masks(label_map={} if stay else rows.indices)
        )

    def pixels_of(self, data: bytes) -> np.ndarray:
        """Return the values of a mask; see :meth:`MaskTree.pixels_of`."""
        if not self.drawn:
            return super().pixels_of(data)
        return _black_and_white(read_mask(data, 'it', photographic=True))

    def regions(self, picture: Picture) -> Sequence[Region]:
        """Return the connected parts; see :meth:`Export.regions`.

        Where masks have blended edges, those of fewer than 20 pixels are
        specks, and are left out.
        """
        found = super().regions(picture)
        if not self.drawn:
            return found
        return [
            region for region in found if coco_mask.area(region.mask) >= _SPECK
        ]

    def rows_of(self, tallies: Sequence[Tally]) -> ClassRows:
        """Return the classes of a list, or a class for each value."""
        found = set().union(*(each.counts for each in tallies))
        white = self.drawn or (_WHITE in found and found <= {0, _WHITE})
        if self.listed is not None:
            return self._listed_rows(self.listed, white)
        if self.drawn or found == {0, _WHITE}:
            listed = ClassList(_TWO, values=(0, _WHITE))
        else:
            values = sorted(found - {IGNORE_INDEX})
            if len(values) > _MOST:
                raise InvalidExportError(
                    self.folder,
                    f'the masks have {_values_in_words(values)}; expected at '
                    f'most {_MOST} without a list of classes. If edges were '
                    'blended, export the masks again as PNG without '
                    'smoothing; else give a list of the classes',
                )
            names = tuple(f'class_{value}' for value in values)
            listed = ClassList(names, values=tuple(values))
        return replace(_rows(listed, MADE), zero=True)

    def told_of(
        self, rows: ClassRows, tallies: Sequence[Tally]
    ) -> Sequence[str]:
        """Say which values are which class; see :meth:`MaskTree.told_of`."""
        if self.listed:
            return []
        files = set().union(*(each.counts for each in tallies))
        values = listing(sorted(files & rows.names.keys()), 8)
        return [
            f'no list of classes: values {values} are '
            f'{listing([*rows.names.values()])}'
        ]

    def _listed_rows(self, listed: ClassList, white: bool) -> ClassRows:
        """Return the classes of a list.

        Args:
            listed: The list.
            white: Whether masks hold 0 and 255 alone.
        """
        if white and _WHITE not in (listed.values or ()):
            names, colors = listed.names, listed.colors
            if len(names) == 1:
                names, colors = (_TWO[0], *names), None
            if len(names) != 2:
                raise InvalidExportError(
                    self.class_file or self.folder,
                    f'lists {len(names)} classes, but the masks have 0 and '
                    '255 alone; expected two names, or that of what is 255: '
                    'give the list of these masks',
                )
            listed = ClassList(names, colors, (0, _WHITE))
        return _rows(listed, self.class_file.name if self.class_file else '')


def write(out: Path, classes: Classes, items: Iterable[Annotated]) -> None:
    """Write ``images/``, ``masks/`` of gray PNGs, and ``classes.txt``.

    Those of a split lie in a folder of its name.

    Args:
        out: The folder.
        classes: The classes.
        items: The images, with label maps.

    Raises:
        OSError: A file cannot be read or written.
        ValueError: A label map is missing or has no class for a value, two
            images have the same name but for the suffix, or a name of a
            class does not fit a line.
    """
    colors = {name: voc_color(i) for i, name in enumerate(classes.names)}
    check_classes('classes', colors)
    for labels, path in mask_places(out, classes, items):
        write_bytes(path, encode_labels(labels))
    write_text(out / 'classes.txt', '\n'.join([*classes.names, '']))


def mask_places(
    out: Path, classes: Classes, items: Iterable[Annotated]
) -> Iterator[tuple[np.ndarray, Path]]:
    """Place the images, and yield label maps with where they belong.

    Args:
        out: The folder.
        classes: The classes.
        items: The images, with label maps.

    Yields:
        uint8 (H, W), and the path of a PNG.

    Raises:
        OSError: An image cannot be copied.
        ValueError: As for :func:`write`.
    """
    if len(set(classes.names)) < len(classes.names):
        raise ValueError(f'classes {listing(classes.names)}: one repeats')
    seen: set[str] = set()
    for item in items:
        name = item.name
        if item.split and not name.startswith(f'{item.split}/'):
            name = f'{item.split}/{name}'
        stem = os.path.splitext(name)[0]
        claim(seen, stem, item)
        labels = labels_to_write(item, classes)
        place_image(item.image, out / 'images' / name)
        yield labels, out / 'masks' / f'{stem}.png'


def _rows(listed: ClassList, source: str) -> ClassRows:
    """Return what a list says, with VOC's colors by index if it has none."""
    indices = itertools.count()
    colors = listed.colors or tuple(
        voc_color(IGNORE_INDEX if has_no_class(name) else next(indices))
        for name in listed.names
    )
    return ClassRows.of(listed._replace(colors=colors), source, by_color=False)


def _black_and_white(mask: Mask) -> np.ndarray:
    """Return 0 or 255 for each pixel of a mask with blended edges.

    Raises:
        ValueError: It is not black and white.
    """
    pixels = mask.colors()
    if is_colorful(pixels):
        raise ValueError(
            f'the mask ({mask.form}) is in color, other masks here are black '
            'and white with blended edges: save it again as they are'
        )
    gray = cv2.cvtColor(pixels, cv2.COLOR_BGR2GRAY)
    between, _ = gray_shares(gray)
    if between > BLACK_AND_WHITE:
        raise ValueError(
            f'{between:.0%} of the pixels of the mask ({mask.form}) are '
            'neither near black nor near white, which along edges a few may '
            'be: of other masks of a format that changes pixels the classes '
            'are lost; save it again from its source, as PNG'
        )
    return cv2.threshold(gray, _THRESHOLD, _WHITE, cv2.THRESH_BINARY)[1]


def _check_blended(folder: Folder, looks: Sequence[Look]) -> None:
    """Check that masks of formats that change pixels are black and white.

    Raises:
        InvalidExportError: They are not.
    """
    lossy = [look for look in looks if look.lossy]
    wrong = [look for look in lossy if look.kind == 'blended']
    what = 'has many grays'
    if (
        not wrong
        and lossy
        and not any(max(look.keys) >= 256 - NEAR for look in lossy)
    ):
        wrong, what = lossy, 'is near black all over, as are all others'
    if wrong:
        raise InvalidExportError(
            folder.root / wrong[0].name,
            f'is a mask ({wrong[0].form}) of a format that changes pixels, '
            f'and {what}: its classes cannot be told any more. Expected PNG, '
            'or black and white: export the masks again as PNG',
        )


def _values_in_words(values: Sequence[int]) -> str:
    one = 'value' if len(values) == 1 else f'{len(values)} values,'
    return f'{one} {listing(values, 8)}'
