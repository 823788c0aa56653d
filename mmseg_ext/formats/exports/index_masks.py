"""Images beside masks whose grays or entries of a palette are classes."""

import os
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np

from mmseg_ext.formats.color_masks import (
    IGNORE_INDEX,
    Color,
    check_classes,
    voc_color,
)
from mmseg_ext.formats.exports.class_lists import (
    ClassList,
    background_of,
    has_no_class,
)
from mmseg_ext.formats.exports.export import (
    Annotated,
    Classes,
    Export,
    Folder,
    InvalidExportError,
    Masks,
    Picture,
    Tally,
)
from mmseg_ext.formats.exports.pairing import (
    BLACK_AND_WHITE,
    Look,
    Pairs,
    find_pairs,
    gray_shares,
    in_words,
    is_colorful,
)
from mmseg_ext.formats.exports.pictures import place_image
from mmseg_ext.formats.exports.regions import Region, mask_of, regions_of_map
from mmseg_ext.formats.mask_values import tally, tally_png
from mmseg_ext.formats.masks import Mask, read_mask
from mmseg_ext.utils.files import (
    read_file,
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


class _Listed(NamedTuple):
    """What the values in files are.

    Attributes:
        names: The classes.
        palette: Their colors.
        index_of: ``value -> index of its class, or 255``.
    """

    names: tuple[str, ...]
    palette: tuple[Color, ...]
    index_of: Mapping[int, int]


@dataclass(frozen=True)
class IndexMasks(Export):
    """A folder of images and index masks.

    Attributes:
        listed: The list of classes; None without any.
        class_file: Where it is.
        drawn: Whether masks are black and white with blended edges, as JPEG
            leaves them: what is brighter than 127 is white.
        index_of_value: ``value -> index of its class, or 255``, after
            :meth:`settled`.
    """

    NAME = 'index-masks'
    TITLE = 'index masks'

    listed: ClassList | None = field(default=None, kw_only=True)
    class_file: Path | None = field(default=None, kw_only=True)
    drawn: bool = field(default=False, kw_only=True)
    index_of_value: Mapping[int, int] = field(
        default_factory=dict, kw_only=True
    )

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
        few = pairs.classes is None or len(pairs.classes.names) < 3
        drawn = any(look.lossy for look in pairs.looks) or (
            few and any(look.smooth for look in pairs.looks)
        )
        return cls(
            folder.root,
            pairs.pictures,
            None,
            (*_evidence(pairs, drawn), pairs.evidence),
            None if drawn else Masks(label_map={}),
            ignored=pairs.ignored,
            listed=pairs.classes,
            class_file=pairs.class_file,
            drawn=drawn,
        )

    def tally(self, picture: Picture) -> Tally:
        """Count the values of a mask; see :meth:`Export.tally`."""
        assert picture.labels is not None
        data = read_file(self.folder / picture.labels)
        quick = None if self.drawn else tally_png(data)
        if quick and (counts := quick.as_grays()) is not None:
            return Tally(quick.size, counts)
        values = self._values(picture, data)
        height, width = values.shape
        return Tally((width, height), tally(values).as_dict())

    def settled(self, tallies: Sequence[Tally]) -> 'IndexMasks':
        """Return it with its classes; see :meth:`Export.settled`."""
        files: Counter[int] = Counter()
        for each in tallies:
            files.update(each.counts.keys())
        found = sorted(files)
        if self.listed is None:
            listed = self._unlisted(found)
        else:
            listed = self._by_list(self.listed, found)
            self._check(listed, tallies)
        background = background_of(listed.names)
        evidence = self.evidence
        if self.listed is None:
            classes = [value for value in found if value in listed.index_of]
            evidence += (
                f'no list of classes: values {listing(classes, 8)} are '
                f'{listing(listed.names)}',
            )
            if background is None and listed.index_of.get(0) == 0:
                background = 0
        stay = all(value == index for value, index in listed.index_of.items())
        return replace(
            self,
            classes=Classes(listed.names, listed.palette, background),
            evidence=evidence,
            masks=None
            if self.drawn
            else Masks(label_map={} if stay else dict(listed.index_of)),
            index_of_value={**listed.index_of},
        )

    def index_of(self, key: int) -> int:
        """Return the index of a value; see :meth:`Export.index_of`."""
        return self.index_of_value.get(key, IGNORE_INDEX)

    def label_map(self, picture: Picture) -> np.ndarray:
        """Return the class of each pixel; see :meth:`Export.label_map`."""
        table = np.full(256, IGNORE_INDEX, np.uint8)
        for value, index in self.index_of_value.items():
            table[value] = index
        values = self._values(picture)
        return cv2.LUT(values, table).reshape(values.shape)

    def regions(self, picture: Picture) -> Sequence[Region]:
        """Return the connected parts; see :meth:`Export.regions`.

        Where masks have blended edges, those of fewer than 20 pixels are
        specks, and are left out.
        """
        assert self.classes is not None
        labels = self.label_map(picture)
        found = regions_of_map(labels, self.classes.background)
        if not self.drawn:
            return found
        size = labels.shape[1], labels.shape[0]
        return [k for k in found if mask_of(k, size).sum() >= _SPECK]

    def _values(
        self, picture: Picture, data: bytes | None = None
    ) -> np.ndarray:
        """Return the values of a mask, uint8 (H, W)."""
        assert picture.labels is not None
        if data is None:
            data = read_file(self.folder / picture.labels)
        mask = read_mask(data, 'it', photographic=self.drawn)
        return _black_and_white(mask) if self.drawn else mask.labels()

    def _unlisted(self, found: Sequence[int]) -> _Listed:
        """Return classes that are the values themselves.

        Raises:
            InvalidExportError: There are none.
        """
        if self.drawn or (len(found) == 2 and set(found) == {0, _WHITE}):
            names = _TWO
            return _Listed(names, _colors(2), {0: 0, _WHITE: 1})
        values = [value for value in found if value != IGNORE_INDEX]
        if not values:
            raise InvalidExportError(
                self.folder,
                'each pixel of each mask is 255, which is no class; expected '
                'values of classes: save the masks again',
            )
        if len(values) > _MOST:
            raise InvalidExportError(
                self.folder,
                f'the masks have {_values_in_words(values)}; expected at most '
                f'{_MOST} without a list of classes. If edges were blended, '
                'export the masks again as PNG without smoothing; else give a '
                'list of the classes',
            )
        return _Listed(
            tuple(f'class_{value}' for value in values),
            _colors(len(values)),
            {value: index for index, value in enumerate(values)},
        )

    def _by_list(self, listed: ClassList, found: Sequence[int]) -> _Listed:
        """Return the classes of a list."""
        names, values = listed.names, listed.values
        white = self.drawn or (_WHITE in found and set(found) <= {0, _WHITE})
        if white and _WHITE not in (values or ()):
            values = (0, _WHITE)
            if len(names) == 1:
                names = (_TWO[0], *names)
            if len(names) != 2:
                raise InvalidExportError(
                    self.class_file or self.folder,
                    f'lists {len(names)} classes, but the masks have 0 and '
                    '255 alone; expected two names, or that of what is 255: '
                    'give the list of these masks',
                )
        places = [k for k, name in enumerate(names) if not has_no_class(name)]
        if not places:
            raise InvalidExportError(
                self.class_file or self.folder,
                f'lists {listing(names)}, none of which is a class; expected '
                'the names of classes',
            )
        values = values or tuple(range(len(names)))
        index_of = dict.fromkeys(values, IGNORE_INDEX)
        index_of |= {values[place]: k for k, place in enumerate(places)}
        colors = _colors(len(places))
        if listed.colors and len(listed.colors) == len(names):
            colors = tuple(listed.colors[place] for place in places)
        return _Listed(tuple(names[k] for k in places), colors, index_of)

    def _check(self, listed: _Listed, tallies: Sequence[Tally]) -> None:
        """Check that all values are those of the list, or 255.

        Raises:
            InvalidExportError: They are not.
        """
        known = {*listed.index_of, IGNORE_INDEX}
        wrong: dict[int, list[int]] = {
            number: values
            for number, each in enumerate(tallies)
            if (values := sorted(each.counts.keys() - known))
        }
        if not wrong:
            return
        number = min(wrong)
        file = self.pictures[number].labels or self.pictures[number].name
        rows = sorted(listed.index_of)
        more = ''
        if rows == [*range(len(rows))] and all(
            values == [len(rows)] for values in wrong.values()
        ):
            more = (
                '; if 0 is the background, write it as the first line of the '
                'list'
            )
        raise InvalidExportError(
            self.folder / file,
            f'holds {_values_in_words(wrong[number])}, for which '
            f'{self.class_file} has no class; so do {len(wrong)} of '
            f'{len(tallies)} masks. Expected {rows[0]} to {rows[-1]}, or 255 '
            f'for pixels to ignore: give the list of these masks{more}',
        )


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
    names = check_classes(
        'classes', dict(zip(classes.names, _colors(255), strict=False))
    )
    for labels, path in mask_places(out, classes, items):
        write_bytes(path, encode_labels(labels))
    write_text(out / 'classes.txt', ''.join(f'{name}\n' for name in names))


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
    seen: dict[str, str] = {}
    for item in items:
        name = item.name
        if item.split and not name.startswith(f'{item.split}/'):
            name = f'{item.split}/{name}'
        stem = os.path.splitext(name)[0]
        if stem in seen:
            raise ValueError(
                f'{seen[stem]} and {name} have the same name but for the '
                'suffix, so that their masks would be one: rename one'
            )
        seen[stem] = name
        if item.labels is None:
            raise ValueError(
                f'{item.name} has no label map, which masks are made of'
            )
        if item.labels.shape != item.size[::-1]:
            raise ValueError(
                f'{item.name} has labels of shape {item.labels.shape}; '
                f'expected {item.size[::-1]}, the height and width of the '
                'image'
            )
        values = np.unique(item.labels)
        end = len(classes.names)
        wrong = values[(values >= end) & (values != IGNORE_INDEX)].tolist()
        if wrong:
            raise ValueError(
                f'{item.name} has label {listing(wrong)}; expected 0 to '
                f'{end - 1}, or {IGNORE_INDEX}'
            )
        place_image(item.image, out / 'images' / name)
        yield item.labels, out / 'masks' / f'{stem}.png'


def _colors(count: int) -> tuple[Color, ...]:
    return tuple(voc_color(index) for index in range(count))


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
    if not wrong and lossy and not any(look.white for look in lossy):
        wrong, what = lossy, 'is near black all over, as are all others'
    if wrong:
        raise InvalidExportError(
            folder.root / wrong[0].name,
            f'is a mask ({wrong[0].form}) of a format that changes pixels, '
            f'and {what}: its classes cannot be told any more. Expected PNG, '
            'or black and white: export the masks again as PNG',
        )


def _evidence(pairs: Pairs, drawn: bool) -> list[str]:
    """Say what masks there are, and what some of them hold."""
    masks = [picture.labels or '' for picture in pairs.pictures]
    values = sorted({key for look in pairs.looks for key in look.keys})
    line = f'{in_words(masks)}, {len(pairs.looks)} looked at: '
    if drawn:
        line += (
            'black and white with blended edges, brighter than '
            f'{_THRESHOLD} is white'
        )
    else:
        line += _values_in_words(values)
    if pairs.classes is None:
        return [line]
    names = pairs.classes.names
    rows = pairs.classes.values or range(len(names))
    file = pairs.class_file.name if pairs.class_file else ''
    if not drawn and {*values} <= {*rows, IGNORE_INDEX}:
        line += f', all in {file}'
    return [line, f'{len(names)} classes in {file}: {listing(names)}']


def _values_in_words(values: Sequence[int]) -> str:
    one = 'value' if len(values) == 1 else f'{len(values)} values,'
    return f'{one} {listing(values, 8)}'
