"""Images beside masks in which each class has a color."""

import os
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import cv2
import numpy as np

from mmseg_ext.formats.color_masks import (
    IGNORE_INDEX,
    Color,
    mask_decoder,
    voc_color,
    write_class_dict,
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
from mmseg_ext.formats.exports.index_masks import mask_places
from mmseg_ext.formats.exports.pairing import Pairs, find_pairs, in_words
from mmseg_ext.formats.exports.regions import Region, regions_of_map
from mmseg_ext.formats.mask_values import tally, tally_png
from mmseg_ext.formats.masks import read_mask
from mmseg_ext.utils.files import read_file
from mmseg_ext.utils.images import write_png
from mmseg_ext.utils.text import listing

__all__ = ['ColorMasks', 'write']

#: More colors without a list are those of blended edges.
_MOST = 64

#: How many wrong colors are named.
_NAMED = 3

_VOID = 'void'


@dataclass(frozen=True)
class ColorMasks(Export):
    """A folder of images and color masks.

    Attributes:
        listed: The list of classes; None without any that has colors.
        class_file: Where it is.
        index_of_color: ``red << 16 | green << 8 | blue -> index of its class,
            or 255``, after :meth:`settled`.
    """

    NAME = 'color-masks'
    TITLE = 'color masks'

    listed: ClassList | None = field(default=None, kw_only=True)
    class_file: Path | None = field(default=None, kw_only=True)
    index_of_color: Mapping[int, int] = field(
        default_factory=dict, kw_only=True
    )

    @classmethod
    def found(cls, folder: Folder) -> 'ColorMasks | None':
        """Return what is in a folder; see :meth:`Export.found`.

        An image and its mask have names that are alike; the list of classes
        lies beside the masks or further above.
        """
        pairs = find_pairs(folder, 'color')
        if pairs is None:
            return None
        for look in pairs.looks:
            if look.lossy or look.kind == 'blended':
                raise InvalidExportError(
                    folder.root / look.name,
                    f'is a color mask ({look.form}) with more than {_MOST} '
                    'colors: JPEG or smoothing blended those of neighbors, '
                    'and classes at edges are lost; export the masks again '
                    'as PNG, without smoothing',
                )
        listed, class_file = pairs.classes, pairs.class_file
        if listed and listed.colors is None:
            if folder.class_list is not None:
                raise InvalidExportError(
                    folder.class_list,
                    'has names without colors, but the masks have colors; '
                    'expected a CSV file with the header name,r,g,b and the '
                    'color of each class',
                )
            listed = class_file = None
        return cls(
            folder.root,
            pairs.pictures,
            _classes(listed) if listed else None,
            (*_evidence(pairs, listed), pairs.evidence),
            Masks(colors=_colors(listed)) if listed else None,
            ignored=pairs.ignored,
            listed=listed,
            class_file=class_file,
        )

    def tally(self, picture: Picture) -> Tally:
        """Count the colors of a mask; see :meth:`Export.tally`."""
        assert picture.labels is not None
        data = read_file(self.folder / picture.labels)
        if quick := tally_png(data):
            return Tally(quick.size, quick.as_colors())
        colors = _read(data)
        height, width = colors.shape[:2]
        return Tally((width, height), tally(colors).as_dict())

    def settled(self, tallies: Sequence[Tally]) -> 'ColorMasks':
        """Return it with its classes; see :meth:`Export.settled`."""
        if self.listed is not None:
            indices = _indices(self.listed)
            self._check(indices, tallies)
            return replace(self, index_of_color=indices)
        counts: Counter[int] = Counter()
        for each in tallies:
            counts.update(each.counts)
        if len(counts) > _MOST:
            self._refuse(counts, tallies)
        keys = sorted(counts)
        listed = ClassList(
            tuple(f'class_{k}' for k in range(1, len(keys) + 1)),
            tuple(map(_rgb, keys)),
        )
        share = counts[0] / max(1, counts.total())
        return replace(
            self,
            classes=replace(
                _classes(listed), background=0 if counts[0] else None
            ),
            evidence=(
                *self.evidence,
                f'no list of colors: all files together have {len(keys)}, '
                f'each is a class; {share:.1%} of the pixels are black',
            ),
            masks=Masks(colors=_colors(listed)),
            index_of_color=_indices(listed),
        )

    def index_of(self, key: int) -> int:
        """Return the index of a color; see :meth:`Export.index_of`."""
        return self.index_of_color.get(key, IGNORE_INDEX)

    def label_map(self, picture: Picture) -> np.ndarray:
        """Return the class of each pixel; see :meth:`Export.label_map`."""
        colors = tuple(
            (_rgb(key), index) for key, index in self.index_of_color.items()
        )
        assert picture.labels is not None
        found = _read(read_file(self.folder / picture.labels))
        labels, unknown = mask_decoder(colors, ()).decode_colors(found)
        if unknown:
            raise ValueError(
                f'{unknown} pixels of the mask have colors that it did not '
                'have before; expected the same file: start again'
            )
        return labels

    def regions(self, picture: Picture) -> Sequence[Region]:
        """Return the connected parts; see :meth:`Export.regions`."""
        assert self.classes is not None
        labels = self.label_map(picture)
        return regions_of_map(labels, self.classes.background)

    def _check(
        self, indices: Mapping[int, int], tallies: Sequence[Tally]
    ) -> None:
        """Check that all colors are in the list.

        Raises:
            InvalidExportError: They are not.
        """
        wrong = {
            number: keys
            for number, each in enumerate(tallies)
            if (keys := sorted(each.counts.keys() - indices.keys()))
        }
        if not wrong:
            return
        number = min(wrong)
        keys = wrong[number]
        total = sum(tallies[number].counts.values())
        share = sum(tallies[number].counts[key] for key in keys) / total
        file = self.pictures[number].labels or ''
        raise InvalidExportError(
            self.folder / file,
            f'{share:.1%} of its pixels have {_in_words(keys)}, which '
            f'{self.class_file} does not list; so it is in {len(wrong)} of '
            f'{len(tallies)} masks: add a row for each, or give the list of '
            'these masks',
        )

    def _refuse(self, counts: Counter[int], tallies: Sequence[Tally]) -> None:
        """Raise that there are too many colors to be classes."""
        most = max(range(len(tallies)), key=lambda k: len(tallies[k].counts))
        file = self.pictures[most].labels or ''
        rare = [key for key, _ in reversed(counts.most_common())]
        raise InvalidExportError(
            self.folder / file,
            f'has {len(tallies[most].counts)} colors, all masks together '
            f'{len(counts)}, the rarest {_in_words(rare[:_NAMED])}; expected '
            f'at most {_MOST} without a list of classes. Edges were blended, '
            'by JPEG or by a resize: export the masks again as PNG without '
            'smoothing, or give a list with the colors of all classes',
        )


def write(out: Path, classes: Classes, items: Iterable[Annotated]) -> None:
    """Write ``images/``, ``masks/`` of RGB PNGs, and ``class_dict.csv``.

    Those of a split lie in a folder of its name. Pixels of 255 get a color
    that no class has, which the list calls void.

    Args:
        out: The folder.
        classes: The classes.
        items: The images, with label maps.

    Raises:
        OSError: A file cannot be read or written.
        ValueError: As for :func:`mmseg_ext.formats.exports.index_masks.write`,
            or two classes have one color.
    """
    taken = set(classes.palette)
    free = next(
        color for k in range(256) if (color := voc_color(k)) not in taken
    )
    table = np.zeros((256, 1, 3), np.uint8)
    table[: len(classes.palette), 0] = classes.palette
    table[IGNORE_INDEX] = free
    table = np.ascontiguousarray(table[..., ::-1])
    void = False
    for labels, path in mask_places(out, classes, items):
        write_png(path, cv2.applyColorMap(labels, table))
        void |= bool((labels == IGNORE_INDEX).any())
    colors = dict(zip(classes.names, classes.palette, strict=True))
    if void:
        colors[_VOID] = free
    write_class_dict(out / 'class_dict.csv', colors)


def _read(data: bytes) -> np.ndarray:
    """Return the colors of a mask, uint8 (H, W, 3), BGR."""
    mask = read_mask(data, 'it')
    if mask.transparent is not None:
        raise ValueError(
            f'the mask ({mask.form}) has '
            f'{np.count_nonzero(mask.transparent)} transparent pixels; '
            'expected a color for each: save it without alpha'
        )
    return mask.colors()


def _rgb(key: int) -> Color:
    return key >> 16, key >> 8 & 255, key & 255


def _colors(listed: ClassList) -> dict[str, Color]:
    """Return ``name -> (R, G, B)`` of a list with colors."""
    return dict(zip(listed.names, listed.colors or (), strict=True))


def _classes(listed: ClassList) -> Classes:
    """Return the classes of a list with colors."""
    colors = {
        name: color
        for name, color in _colors(listed).items()
        if not has_no_class(name)
    }
    return Classes(
        tuple(colors), tuple(colors.values()), background_of(tuple(colors))
    )


def _indices(listed: ClassList) -> dict[int, int]:
    """Return ``color -> index of its class, or 255`` of a list."""
    names = [name for name in listed.names if not has_no_class(name)]
    return {
        red << 16 | green << 8 | blue: names.index(name)
        if name in names
        else IGNORE_INDEX
        for name, (red, green, blue) in _colors(listed).items()
    }


def _evidence(pairs: Pairs, listed: ClassList | None) -> list[str]:
    """Say what masks there are, and what some of them hold."""
    masks = [picture.labels or '' for picture in pairs.pictures]
    keys = {key for look in pairs.looks for key in look.colors}
    one = 'color' if len(keys) == 1 else 'colors'
    line = (
        f'{in_words(masks)}, {len(pairs.looks)} looked at: {len(keys)} {one}'
    )
    file = os.path.basename(pairs.class_file or '')
    if listed is None:
        if file:
            return [line, f'{file} has no colors, so that it is not used']
        return [line]
    if keys <= _indices(listed).keys():
        line += f', all in {file}'
    return [
        line,
        f'{len(listed.names)} classes in {file}: {listing(listed.names)}',
    ]


def _in_words(keys: Sequence[int]) -> str:
    """Return colors in words."""
    one = 'color' if len(keys) == 1 else f'{len(keys)} colors,'
    return f'the {one} {listing([str(_rgb(key)) for key in keys], _NAMED)}'
