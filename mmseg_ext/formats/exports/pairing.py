"""Images and masks of a folder, paired, whatever their names.

What is a photograph and what a mask is seen in a few files of each kind of
name. Which mask belongs to which image is then seen in the names: what is the
same in both, with the same before and after it in all images, and in all
masks.
"""

import os
import random
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np

from mmseg_ext.formats.exports.class_lists import (
    ClassList,
    find_class_list,
    listed_classes,
)
from mmseg_ext.formats.exports.export import (
    Folder,
    InvalidExportError,
    Picture,
    split_of,
)
from mmseg_ext.formats.exports.mask_trees import color_key
from mmseg_ext.formats.mask_values import tally
from mmseg_ext.formats.masks import Mask, read_mask
from mmseg_ext.utils.files import read_file
from mmseg_ext.utils.text import listing, normal_form, printable

__all__ = [
    'BLACK_AND_WHITE',
    'NEAR',
    'Look',
    'Pairs',
    'find_pairs',
    'gray_shares',
    'in_words',
    'is_colorful',
]

#: Grays up to this, and from 255 less this on, are near black and white; and
#: the share of all others that a black and white mask may have along edges.
NEAR, BLACK_AND_WHITE = 32, 0.1

#: Files of a group that are looked at: photographs, and masks.
_FEW, _SAMPLE = 8, 32

#: Flat files have no more colors, or so large a share of pixels like the one
#: before; and those of masks that JPEG changed.
_COLORS, _FLAT, _BLENDED = 64, 0.9, 0.5

#: Masks with blended edges have so many grays, and such a share of pixels of
#: black or white.
_GRAYS, _EXTREMES = 8, 0.8

#: Rows of a file that tell whether it has many colors.
_ROWS = 64

#: Folders without words that are groups of their own.
_FOLDERS = 32

#: Parts of a name that may stand before and after what images and masks
#: share, masks that are looked at for them, and how many of these may share a
#: part that tells files apart.
_BEFORE, _AFTER, _NAMES, _OWNERS = 4, 8, 40, 8

#: Words in names of folders and files.
_MASKS = frozenset(
    {
        *('mask', 'masks', 'label', 'labels', 'lbl', 'lbls', 'annotation'),
        *('annotations', 'annot', 'annots', 'ann', 'anns', 'anno', 'annos'),
        *('gt', 'gts', 'gtfine', 'gtcoarse', 'groundtruth', 'ground'),
        *('truth', 'seg', 'segs', 'segm', 'segmentation', 'segmentations'),
        *('segmap', 'segmaps', 'segmentationclass', 'semantic', 'target'),
        *('targets', 'labelids', 'labeltrainids', 'matte', 'mattes'),
    }
)
_IMAGES = frozenset(
    {
        *('image', 'images', 'img', 'imgs', 'photo', 'photos', 'picture'),
        *('pictures', 'pic', 'pics', 'rgb', 'input', 'inputs', 'original'),
        *('originals', 'raw', 'src', 'frame', 'frames', 'sat'),
        *('jpegimages', 'leftimg8bit'),
    }
)
_WORDS = _MASKS | _IMAGES

#: An end of the names of masks.
_L = 'l'

#: Words of a folder, all but those for images and masks, and of these those
#: that not all files have.
_Place = tuple[tuple[str, ...], tuple[str, ...]]


class Look(NamedTuple):
    """What a file holds.

    Attributes:
        name: Its path relative to the root.
        kind: ``'photo'``, ``'gray'``, ``'palette'`` or ``'color'``; or
            ``'blended'`` of a mask whose pixels have more colors than there
            are classes, as its format changed them, or an editor.
        form: What it is, in words.
        keys: The values of grays and palettes, colors of the others, as
            ``red << 16 | green << 8 | blue``; none of photographs.
        shown: The color of each entry of a palette.
        lossy: Whether its format changes pixels.
        smooth: Whether it is black and white, with grays along edges.
        colorful: Whether it has other colors than grays.
    """

    name: str
    kind: str
    form: str = ''
    keys: frozenset[int] = frozenset()
    shown: Mapping[int, int] = {}
    lossy: bool = False
    smooth: bool = False
    colorful: bool = False

    @property
    def colors(self) -> frozenset[int]:
        """The colors that it shows, as numbers."""
        if self.kind == 'gray':
            return frozenset(color_key((key,) * 3) for key in self.keys)
        return frozenset(self.shown.get(key, key) for key in self.keys)


@dataclass(frozen=True)
class Pairs:
    """Images with masks of one kind.

    Attributes:
        pictures: The images, sorted by name.
        looks: Masks that were looked at.
        classes: The list of classes that lies there, or that the user gave.
        class_file: Where it is.
        evidence: What images there are, and how masks are called, in words.
        ignored: What is not used, a sentence a line.
    """

    pictures: tuple[Picture, ...]
    looks: tuple[Look, ...]
    classes: ClassList | None
    class_file: Path | None
    evidence: str
    ignored: tuple[str, ...]

    @property
    def class_name(self) -> str:
        """What messages call the list of classes."""
        return self.class_file.name if self.class_file else ''

    def told(self, held: str, all_listed: bool) -> list[str]:
        """Say what masks there are, what some hold, and the classes.

        Args:
            held: What some hold.
            all_listed: Whether the list has all of it.
        """
        masks = [picture.labels or '' for picture in self.pictures]
        line = f'{in_words(masks)}, {len(self.looks)} looked at: {held}'
        if self.classes is None:
            return [line]
        if all_listed:
            line += f', all in {self.class_name}'
        names = self.classes.names
        return [
            line,
            f'{len(names)} classes in {self.class_name}: {listing(names)}',
        ]


@dataclass
class _Group:
    """Files whose names have the same words.

    Attributes:
        files: Their paths, sorted.
        word: ``'mask'`` or ``'image'``, if their words say so.
        looks: What some of them hold.
    """

    files: list[str]
    word: str | None
    looks: list[Look] = field(default_factory=list)

    @property
    def flat(self) -> bool:
        """Whether most are masks, by what they hold."""
        masks = sum(look.kind != 'photo' for look in self.looks)
        if not self.looks:
            return self.word == 'mask'
        return 2 * masks > len(self.looks)

    @property
    def colors(self) -> float:
        """How many values or colors the files have, the median."""
        return float(np.median([len(k.keys) for k in self.looks] or [0]))


class _Rule(NamedTuple):
    """What stands around the part that an image and its mask share."""

    before: str = ''
    after: str = ''
    mask_before: str = ''
    mask_after: str = ''

    def of_image(self, stem: str) -> str | None:
        """Return the part that the mask has as well."""
        return _inside(stem, self.before, self.after)

    def of_mask(self, stem: str) -> str | None:
        """Return the part that the image has as well."""
        return _inside(stem, self.mask_before, self.mask_after)


def find_pairs(folder: Folder, kind: str) -> Pairs | None:
    """Find the images of a folder that have masks of a kind.

    Args:
        folder: The folder.
        kind: ``'index'``, where grays or entries of palettes are classes, or
            ``'color'``.

    Returns:
        The pairs; None if there are no masks of this kind, or no images.

    Raises:
        InvalidExportError: Some images have no mask or several, some masks
            several images, or the list of classes is not right.
    """
    images, masks = _roles(folder)
    if not images or not masks:
        return None
    groups: list[_Group] = []
    others: list[_Group] = []
    for group in masks:
        fits = _kind(group, _class_list(folder, group.files)[0]) == kind
        (groups if fits else others).append(group)
    if not groups:
        return None
    photos = _places(sorted(k for group in images for k in group.files))
    places = _places(name for group in groups for name in group.files)
    owners: dict[str, str] = {}
    ignored = []
    looks: list[Look] = []
    for group in groups:
        left = {name: places[name] for name in group.files}
        _pair(folder, photos, left, owners)
        if left:
            ignored.append(
                f'{in_words([*left])} without image: {_first(left)}'
            )
        if len(left) < len(group.files):
            looks += [k for k in group.looks if k.kind != 'photo']
    if not owners:
        return None
    missing, copies = _without_mask(images, owners)
    ignored += copies
    if missing:
        raise InvalidExportError(
            folder.root / missing[0],
            f'{len(missing)} of {len(photos)} images have no mask: '
            f'{_first(missing)}; expected one for each, such as '
            f'{next(iter(owners.values()))} for {next(iter(owners))}: add '
            'them, or move these images elsewhere',
        )
    ignored += [
        f'{in_words(group.files)}: masks of another kind' for group in others
    ]
    classes, path = _class_list(folder, owners.values())
    first = min(owners)
    return Pairs(
        tuple(
            Picture(name, mask, split_of(name) or split_of(mask))
            for name, mask in sorted(owners.items())
        ),
        tuple(looks),
        classes,
        path,
        f'{in_words(list(owners))}, each with a mask, such as '
        f'{owners[first]} of {first}',
        tuple(ignored),
    )


def _without_mask(
    groups: Iterable[_Group], owners: Mapping[str, str]
) -> tuple[list[str], list[str]]:
    """Return the images without mask.

    Args:
        groups: All images.
        owners: Masks by their images.

    Returns:
        Those whose mask is missing, sorted; and lines about groups that are
        other pictures of what is in images with masks, by their names.
    """
    stems = {_stem(name) for name in owners}
    missing, copies = [], []
    for group in groups:
        left = [name for name in group.files if name not in owners]
        if len(left) == len(group.files) and stems.issuperset(
            map(_stem, left)
        ):
            copies.append(
                f'{in_words(left)}: no masks of their own, and names as '
                'images with masks have'
            )
        else:
            missing += left
    return sorted(missing), copies


def in_words(files: Sequence[str]) -> str:
    """Return how many files of which kinds lie in which folders.

    >>> in_words(['masks/a.png', 'masks/b.png'])
    '2 PNG in masks/'
    """
    kinds = Counter(os.path.splitext(name)[1][1:].upper() for name in files)
    folders = sorted({os.path.dirname(name) for name in files})
    if len(folders) > 3:
        folders = sorted({folder.partition('/')[0] for folder in folders})
    places = [
        printable(f'{folder}/' if folder else './') for folder in folders
    ]
    counts = [f'{count} {kind}' for kind, count in kinds.most_common()]
    return f'{listing(counts)} in {listing(places, 3)}'


def gray_shares(gray: np.ndarray) -> tuple[float, float]:
    """Return the shares of pixels that are not near black, and near white.

    Args:
        gray: uint8 (H, W).

    Returns:
        The share of those neither near black nor near white, and of those
        near white.
    """
    counts = np.bincount(gray.ravel(), minlength=256)
    white = counts[256 - NEAR :].sum()
    black = counts[: NEAR + 1].sum()
    return 1 - float(white + black) / gray.size, float(white) / gray.size


# What files hold.


def _look(root: Path, name: str, word: str | None) -> Look | None:
    """Look at a file; None if it cannot be read, which is told later."""
    try:
        mask = read_mask(read_file(root / name), name, photographic=True)
    except (OSError, ValueError):
        return None
    pixels = mask.pixels
    gray = mask.gray()
    if mask.lossy:
        return _lossy(name, mask, word)
    if mask.palette is None and gray is None:
        kind = 'color'
    else:
        kind = 'gray' if mask.palette is None else 'palette'
        pixels = gray if gray is not None else pixels
    if _has_many(pixels):
        flat = _flatness(pixels)
        if kind == 'color' and word == 'mask' and flat >= _FLAT:
            return Look(name, 'blended', mask.form, colorful=True)
        if kind == 'color' or flat < _FLAT:
            return Look(name, 'photo', mask.form)
    keys = tally(pixels).as_dict()
    if kind == 'palette':
        assert mask.palette is not None
        colors = mask.palette[:, ::-1].tolist()
        shown = {key: color_key(colors[key]) for key in keys}
        return Look(name, kind, mask.form, frozenset(keys), shown)
    return Look(
        name,
        kind,
        mask.form,
        frozenset(keys),
        smooth=kind == 'gray' and _is_smooth(pixels, keys),
        colorful=kind == 'color',
    )


def _is_smooth(gray: np.ndarray, counts: Mapping[int, int]) -> bool:
    """Tell whether a mask is black and white but for grays along edges."""
    if not {0, 255} <= counts.keys() or max(counts) > 255:
        return False
    grays = sum(NEAR < key < 256 - NEAR for key in counts)
    if grays < _GRAYS or counts[0] + counts[255] < _EXTREMES * gray.size:
        return False
    return gray_shares(gray)[0] <= BLACK_AND_WHITE


def _lossy(name: str, mask: Mask, word: str | None) -> Look:
    """Return what a JPEG file and the like shows."""
    pixels = mask.colors()
    colorful = is_colorful(pixels)
    gray = cv2.cvtColor(pixels, cv2.COLOR_BGR2GRAY)
    if not colorful and gray_shares(gray)[0] <= BLACK_AND_WHITE:
        keys = frozenset(np.flatnonzero(np.bincount(gray.ravel())).tolist())
        return Look(
            name,
            'gray',
            mask.form,
            keys,
            lossy=True,
            smooth=True,
        )
    blended = word == 'mask' and _flatness(gray) >= _BLENDED
    return Look(
        name,
        'blended' if blended else 'photo',
        mask.form,
        lossy=True,
        colorful=colorful,
    )


def is_colorful(pixels: np.ndarray) -> bool:
    """Tell whether a picture of a lossy format has other colors than grays.

    Args:
        pixels: uint8 (H, W, 3), BGR. JPEG moves the channels of masks of nails
            by up to 52.
    """
    gray = cv2.cvtColor(pixels, cv2.COLOR_BGR2GRAY)
    uncolored = cv2.cvtColor(gray, cv2.COLOR_GRAY2BGR)
    return cv2.norm(pixels, uncolored, cv2.NORM_INF) > 2 * NEAR


def _has_many(pixels: np.ndarray) -> bool:
    """Tell whether a picture has more colors than masks have."""
    step = max(1, len(pixels) // _ROWS)
    if len(tally(np.ascontiguousarray(pixels[::step])).values) > _COLORS:
        return True
    return len(tally(pixels).values) > _COLORS


def _flatness(pixels: np.ndarray) -> float:
    """Return the share of pixels that are like the one before in the row."""
    same = pixels[:, 1:] == pixels[:, :-1]
    if same.ndim == 3:
        same = same.all(axis=2)
    return float(same.mean()) if same.size else 1.0


# What words in names say.


def _words(text: str) -> list[str]:
    """Return the words of a name, in lower case."""
    return [word for word in re.split(r'[\W_]+', text.lower()) if word]


def _stem(path: str) -> str:
    """Return the name of a file without suffix."""
    return normal_form(os.path.splitext(os.path.basename(path))[0])


def _affixes(stem: str) -> tuple[str, ...]:
    """Return the words for images and masks that a name begins and ends in."""
    words = _words(stem)
    found = []
    if start := re.match(r'[^\W\d_]+', stem.lower()):
        found += [start[0]] if start[0] in _WORDS else []
    for word in reversed(words[1:]):
        if word not in _WORDS | {_L}:
            break
        found.append(word)
    return tuple(found)


def _word_of(path: str) -> str | None:
    """Return what the words in a path say: ``'mask'``, ``'image'`` or None."""
    affixes = set(_affixes(_stem(path)))
    if affixes & (_MASKS | {_L}):
        return 'mask'
    for folder in reversed(path.split('/')[:-1]):
        words = set(_words(folder))
        if words & _MASKS:
            return 'mask'
        if words & _IMAGES:
            return 'image'
    return 'image' if affixes else None


def _grouped(folder: Folder) -> list[_Group]:
    """Return the files by the words in their names and their suffixes."""
    plain = {os.path.dirname(name) for name in folder.images}
    plain = {name for name in plain if not _said(name)}
    groups = defaultdict(list)
    for name in folder.images:
        inner, suffix = os.path.dirname(name), os.path.splitext(name)[1]
        place = inner if inner in plain and len(plain) <= _FOLDERS else ''
        key = place, _said(inner), _affixes(_stem(name)), suffix.lower()
        groups[key].append(name)
    return [_Group(files, _word_of(files[0])) for files in groups.values()]


def _said(folder: str) -> tuple[str, ...]:
    """Return the words of those folders that say what the files are."""
    return tuple(
        word
        for words in map(_words, folder.split('/'))
        if not _WORDS.isdisjoint(words)
        for word in words
        if word.isalpha()
    )


def _sample(files: Sequence[str], count: int) -> list[str]:
    """Return some files, each with the one after it, the same every time."""
    if len(files) <= count:
        return list(files)
    starts = random.Random(0).sample(range(0, len(files) - 1, 2), count // 2)
    return [files[place + k] for place in sorted(starts) for k in (0, 1)]


def _look_through(folder: Folder, group: _Group) -> None:
    """Look at some files of a group; at more of masks."""
    few = _sample(group.files, _FEW)
    looks = [_look(folder.root, name, group.word) for name in few]
    if any(look and look.kind != 'photo' for look in looks):
        more = [k for k in _sample(group.files, _SAMPLE) if k not in few]
        looks += [
            _look(folder.root, name, group.word)
            for name in more[: _SAMPLE - len(few)]
        ]
    group.looks = [look for look in looks if look]


def _roles(folder: Folder) -> tuple[list[_Group], list[_Group]]:
    """Return the groups of images and those of masks."""
    groups: list[_Group] = []
    for group in _grouped(folder):
        _look_through(folder, group)
        groups += _divided(group)
    images = [each for each in groups if not each.flat]
    flat = [each for each in groups if each.flat]
    drawn = [each for each in flat if each.word == 'image']
    masks = [each for each in flat if each.word == 'mask']
    unsaid = [each for each in flat if each.word is None]
    images += drawn
    if not images and masks:
        # Drawings are images of few colors, but of more than their masks.
        most = max(each.colors for each in masks)
        rich = [each for each in unsaid if each.colors > 2 * most]
        return rich, masks + [each for each in unsaid if each not in rich]
    return images, masks + unsaid


def _divided(group: _Group) -> list[_Group]:
    """Divide a group of images and masks in one folder by their names."""
    kinds = {look.kind == 'photo' for look in group.looks}
    if len(kinds) < 2:
        return [group]
    stems = {_stem(name): name for name in group.files}
    rule = _find_rule(list(stems), list(stems), False)
    if rule is None:
        return [group]
    cores = {rule.of_image(stem) for stem in stems}
    masks = {
        name for stem, name in stems.items() if rule.of_mask(stem) in cores
    }
    parts = []
    for files in (
        [name for name in group.files if name in masks],
        [name for name in group.files if name not in masks],
    ):
        looks = [look for look in group.looks if look.name in files]
        parts.append(_Group(files, group.word, looks))
    if parts[0].flat and not parts[1].flat:
        return parts
    return [group]


def _class_list(
    folder: Folder, files: Iterable[str]
) -> tuple[ClassList | None, Path | None]:
    """Return the list of classes of some masks, and where it is."""
    path = find_class_list(folder, files)
    return (listed_classes(path) if path else None), path


def _kind(group: _Group, classes: ClassList | None) -> str:
    """Return whether masks hold indices or colors."""
    looks = [look for look in group.looks if look.kind != 'photo']
    if any(look.colorful for look in looks):
        return 'color'
    colors = classes.colors or () if classes else ()
    listed = [color_key(color) for color in colors]
    shown: dict[int, int] = {}
    for look in looks:
        for key, color in look.shown.items():
            if shown.setdefault(key, color) != color:
                return 'color'
    if shown:
        rows = dict(enumerate(listed))
        if set(shown.values()) <= set(listed) and not (
            shown.items() <= rows.items()
        ):
            return 'color'
        return 'index'
    values = {key for look in looks for key in look.keys}
    grays = {color_key((value,) * 3) for value in values}
    if listed and grays <= set(listed):
        indices = values <= set(range(len(listed)))
        return 'index' if indices else 'color'
    return 'index'


# Which mask belongs to which image.


def _pair(
    folder: Folder,
    photos: Mapping[str, _Place],
    left: dict[str, _Place],
    owners: dict[str, str],
) -> None:
    """Find the images of the masks of a group, by as many rules as it has.

    Args:
        folder: The folder, for messages.
        photos: Images, with the words of their folders.
        left: Masks, with those of theirs; those with an image are taken out.
        owners: Masks by their images; these are added.

    Raises:
        InvalidExportError: It is not clear which belong together.
    """
    while left:
        rule = _find_rule([*map(_stem, photos)], [*map(_stem, left)], True)
        pairs = _by_rule(folder, photos, left, rule) if rule else {}
        if not pairs:
            return
        for image, mask in pairs.items():
            if image in owners:
                raise InvalidExportError(
                    folder.root / image,
                    f'has two masks, {owners[image]} and {mask}; expected '
                    'one: move the others elsewhere',
                )
            owners[image] = mask
            del left[mask]


def _inside(stem: str, before: str, after: str) -> str | None:
    """Return what stands between two texts; None if they are not there."""
    start, stop = len(before), len(stem) - len(after)
    fits = stem.startswith(before) and stem.endswith(after) and start <= stop
    return stem[start:stop] if fits else None


def _parts(stem: str) -> Iterator[tuple[str, str, str]]:
    """Yield a name cut in three: what is before, the rest, what is after."""
    parts = re.findall(r'\d+|[^\W\d_]+|[\W_]', stem)
    count = len(parts)
    for start in range(min(_BEFORE, count - 1) + 1):
        for stop in range(count, max(count - _AFTER - 1, start), -1):
            core = ''.join(parts[start:stop])
            if any(sign.isalnum() for sign in core):
                before, after = parts[:start], parts[stop:]
                yield ''.join(before), core, ''.join(after)


def _find_rule(
    images: Sequence[str], masks: Sequence[str], may_be_same: bool
) -> _Rule | None:
    """Return the rule by which most masks have images.

    Args:
        images: Names of images, without suffix.
        masks: Those of masks; each may be that of an image as well.
        may_be_same: Whether an image and its mask may have the same name.

    Returns:
        None if less than half of either have a partner by any.
    """
    stems, mask_stems = set(images), set(masks)
    least = (min(len(stems), len(mask_stems)) + 1) // 2
    if not may_be_same:
        least = (len(stems) + 3) // 4
    if may_be_same and len(stems & mask_stems) >= least:
        return _Rule()
    votes = _votes(stems, mask_stems, may_be_same)
    best, most = None, 0
    ranked = sorted(votes, key=lambda r: (-votes[r], sum(map(len, r)), r))
    for rule in ranked[:8]:
        cores = {rule.of_image(stem) for stem in stems}
        count = len(
            {rule.of_mask(stem) for stem in mask_stems} & cores - {None}
        )
        if not all(map(_is_wordlike, rule)) and count < max(
            3, len(mask_stems)
        ):
            continue
        if count > most:
            best, most = rule, count
    if best is None and len(stems) == len(mask_stems) == 1:
        [image], [mask] = stems, mask_stems
        if _affixes(mask):  # the folders tell them apart
            return _Rule(image, '', mask, '')
    return best if most >= least else None


def _votes(
    stems: Iterable[str], mask_stems: Iterable[str], may_be_same: bool
) -> Counter[_Rule]:
    """Return rules by which some masks have images, with how many."""
    wanted: dict[str, list[tuple[str, str]]] = defaultdict(list)
    for mask in _sample(sorted(mask_stems), _NAMES):
        for before, core, after in _parts(mask):
            wanted[core].append((before, after))
    votes: Counter[_Rule] = Counter()
    for image in stems:
        for before, core, after in _parts(image):
            owners = wanted.get(core, ())
            if len(owners) <= _OWNERS:
                votes.update(_Rule(before, after, *owner) for owner in owners)
    if not may_be_same:
        for rule in list(votes):
            if rule[:2] != ('', '') or rule[2:] == ('', ''):
                del votes[rule]
    return votes


def _is_wordlike(affix: str) -> bool:
    """Tell affixes from numbers, which tell files apart."""
    return not re.search(r'(?<![^\W\d_])\d|\d(?![^\W\d_]|\d)', affix)


def _places(files: Iterable[str]) -> dict[str, _Place]:
    """Return the words in the folders of files that tell some from others."""
    words = {
        name: _words(normal_form(os.path.dirname(name))) for name in files
    }
    shared = frozenset.intersection(*map(frozenset, words.values()))
    return {
        name: (
            tuple(word for word in each if word not in _WORDS),
            tuple(word for word in each if word not in _WORDS | shared),
        )
        for name, each in words.items()
    }


def _by_rule(
    folder: Folder,
    photos: Mapping[str, _Place],
    masks: Mapping[str, _Place],
    rule: _Rule,
) -> dict[str, str]:
    """Return masks by their images, by a rule and the folders.

    The words of folders count at first, then those that not all have, then
    none.

    Args:
        folder: The folder, for messages.
        photos: Images, with the words of their folders.
        masks: Masks, with those of theirs.
        rule: What of the names is alike.

    Raises:
        InvalidExportError: It is not clear which belong together.
    """
    pairs: dict[str, str] = {}
    for level in (0, 1, None):
        used = {*pairs, *pairs.values()}
        keys, mask_keys = (
            {
                name: (core, None if level is None else place[level])
                for name, place in places.items()
                if name not in used
                and (core := core_of(_stem(name))) is not None
                and (core or level is not None)
            }
            for places, core_of in (
                (photos, rule.of_image),
                (masks, rule.of_mask),
            )
        )
        pairs |= _matched(folder, keys, mask_keys)
    return pairs


def _matched(
    folder: Folder, images: Mapping[str, object], masks: Mapping[str, object]
) -> dict[str, str]:
    """Return the masks of images with equal keys and no other split.

    Raises:
        InvalidExportError: Several have the same key.
    """
    of_key: dict[object, list[str]] = defaultdict(list)
    for name, key in masks.items():
        of_key[key].append(name)
    pairs: dict[str, str] = {}
    owners: dict[str, str] = {}
    for image, key in images.items():
        for mask in of_key.get(key, ()):
            if len({split_of(image), split_of(mask)} - {None}) > 1:
                continue
            for one, other, seen in (
                (image, mask, owners),
                (mask, image, pairs),
            ):
                if other in seen:
                    raise InvalidExportError(
                        folder.root / one,
                        f'it and {seen[other]} could both belong to {other}, '
                        'as their names are alike; expected one mask for each '
                        'image: rename or move one of them',
                    )
            pairs[image], owners[mask] = mask, image
    return pairs


def _first(files: Iterable[str]) -> str:
    return listing([printable(name) for name in files], 3)
