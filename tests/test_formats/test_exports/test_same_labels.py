"""The same scenes in every format, read back: the same labels."""

from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import pytest

from helpers.exports import (
    CLASSES,
    Scene,
    has_no_hole,
    scenes,
    write_scenes,
)
from mmseg_ext.formats.exports import format_of, formats
from mmseg_ext.formats.exports.export import Export, Folder, Tally
from mmseg_ext.formats.exports.regions import mask_of

SIZE = 160, 120

#: The largest share of the pixels of a scene that differ where outlines are
#: given, not masks, of the formats that keep them: 0 for others, as for masks.
OUTLINES = {'coco': 0.02, 'yolo': 0.02}

#: The smallest IoU of instances. labelme fills what its outlines run through,
#: and instances do not.
INSTANCES = {'labelme': 0.8}


class Written(NamedTuple):
    """What was written in a format, and what was read of it."""

    name: str
    out: Path
    scenes: list[Scene]
    export: Export
    tallies: list[Tally]


def written_and_read(name, out, **options):
    """Write scenes in a format, and read them."""
    painted = write_scenes(out, name, size=SIZE, **options)
    export = format_of(formats()[name]).found(Folder.listed(out))
    assert export is not None, f'{name} does not find its own'
    tallies = [export.tally(picture) for picture in export.pictures]
    return Written(name, out, painted, export.settled(tallies), tallies)


@pytest.fixture(params=formats(), scope='module')
def written(request, tmp_path_factory):
    """Scenes in a format."""
    out = tmp_path_factory.mktemp('exports') / request.param
    return written_and_read(request.param, out)


def in_order(written):
    """Yield each picture with its scene."""
    assert len(written.export.pictures) == len(written.scenes)
    for each in written.scenes:
        [picture] = [
            picture
            for picture in written.export.pictures
            if each.stem in picture.name
        ]
        yield picture, each


def by_name(export, labels):
    """Return labels by the indices of the scenes' classes, by the names.

    Formats may have a name of their own for the background.
    """
    table = np.full(256, 254, np.uint8)
    table[255] = 255
    for index, name in enumerate(export.classes.names):
        if index == export.classes.background:
            table[index] = CLASSES.background
        elif name in CLASSES.names:
            table[index] = CLASSES.names.index(name)
    return table[labels]


def near_edges(labels):
    """Return the pixels within one pixel of an edge, bool (H, W).

    What lies at the border of the image has an edge there.
    """
    framed = np.pad(labels, 1, constant_values=255)
    square = np.ones((3, 3), np.uint8)
    near = cv2.dilate(framed, square) != cv2.erode(framed, square)
    return near[1:-1, 1:-1]


def differing(written):
    """Return the largest share of the pixels of a scene that differ.

    All of them lie near an edge.
    """
    largest = 0.0
    for picture, each in in_order(written):
        labels = written.export.label_map(picture)
        assert labels.dtype == np.uint8
        wrong = by_name(written.export, labels) != each.labels
        assert not (wrong & ~near_edges(each.labels)).any()
        largest = max(largest, wrong.mean())
    return largest


def test_scenes_are_what_they_say():
    painted = list(scenes())
    assert [each.split for each in painted] == ['train', 'train', 'val'] * 2
    assert not painted[-1].masks
    assert not painted[-1].labels.any()
    holes = border = 0
    for each in painted:
        union = sum((mask * value for value, mask in each.masks), 0)
        assert (each.labels == union).all()
        assert each.image.shape == (120, 160, 3)
        for _, mask in each.masks:
            assert cv2.connectedComponents(mask)[0] == 2
            holes += not has_no_hole(mask)
            border += bool(mask[0].any() or mask[:, 0].any())
    assert holes > 3
    assert border > 3


def test_label_maps(written):
    assert differing(written) == 0


def test_outlines(tmp_path, written):
    """Drawn by the rule of each format: others only at edges."""
    name = written.name
    share = differing(written_and_read(name, tmp_path / 'x', outlines=True))
    print(f'{name}: at most {share:.2%} of the pixels of a scene differ')
    assert share <= OUTLINES.get(name, 0)


def test_tallies(written):
    """They count the pixels that label maps have."""
    export = written.export
    for picture, tally in zip(export.pictures, written.tallies, strict=True):
        labels = export.label_map(picture)
        counts = np.zeros(256, np.int64)
        for key, count in tally.counts.items():
            counts[export.index_of(key)] += count
        assert (counts == np.bincount(labels.ravel(), minlength=256)).all()
        assert tally.size == SIZE


def test_instances(written):
    """Each is there once, and nothing else is."""
    least = INSTANCES.get(written.name, 1)
    names = written.export.classes.names
    for picture, each in in_order(written):
        found = [
            (names[region.category], mask_of(region, SIZE))
            for region in written.export.regions(picture)
        ]
        assert len(found) == len(each.masks)
        for value, mask in each.masks:
            overlaps = [
                (mask & other).sum() / (mask | other).sum()
                for key, other in found
                if key == CLASSES.names[value]
            ]
            assert sum(overlap >= least for overlap in overlaps) == 1


def test_splits(written):
    for picture, each in in_order(written):
        assert picture.split == each.split


def test_no_split(tmp_path, written):
    """None is named, or one where trees cannot be without."""
    again = written_and_read(written.name, tmp_path / 'x', splits=False)
    assert differing(again) == 0
    assert len({picture.split for picture in again.export.pictures}) == 1


def test_other_formats_leave_it(written):
    """What a format writes is that of no other one."""
    folder = Folder.listed(written.out)
    kinds = {key: format_of(module) for key, module in formats().items()}
    # Whose place is taken may find fault with it.
    others = kinds.keys() - written.export.INSTEAD_OF - {written.name}
    assert [key for key in others if kinds[key].found(folder)] == []
