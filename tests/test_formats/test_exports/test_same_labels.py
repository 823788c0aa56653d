"""The same scenes in every format, read back: the same labels."""

import cv2
import numpy as np
import pytest

from helpers.exports import CLASSES, has_no_hole, scenes, write_scenes
from mmseg_ext.formats.exports import format_of, formats
from mmseg_ext.formats.exports.export import Folder
from mmseg_ext.formats.exports.regions import mask_of

SIZE = 160, 120

#: The largest share of the pixels of a scene that differ where outlines are
#: given, not masks, of the formats that keep them: 0 for others, as for masks.
OUTLINES = {'coco': 0.02, 'yolo': 0.02}

#: The smallest IoU of instances. labelme fills what its outlines run through,
#: and instances do not.
INSTANCES = {'labelme': 0.8}


@pytest.fixture(params=formats(), scope='module')
def written(request, tmp_path_factory):
    """The name of a format, its folder, and what was written there."""
    out = tmp_path_factory.mktemp('exports') / request.param
    return request.param, out, write_scenes(out, request.param, size=SIZE)


def read(name, out):
    """Return an export, settled, and its tallies."""
    export = format_of(formats()[name]).found(Folder.listed(out))
    assert export is not None, f'{name} does not find its own'
    tallies = [export.tally(picture) for picture in export.pictures]
    return export.settled(tallies), tallies


def in_order(export, painted):
    """Yield each picture with its scene."""
    assert len(export.pictures) == len(painted)
    for each in painted:
        [picture] = [p for p in export.pictures if each.stem in p.name]
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


def differing(export, painted):
    """Return the largest share of the pixels of a scene that differ.

    All of them lie near an edge.
    """
    largest = 0.0
    for picture, each in in_order(export, painted):
        labels = export.label_map(picture)
        assert labels.dtype == np.uint8
        wrong = by_name(export, labels) != each.labels
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
    name, out, painted = written
    export, _ = read(name, out)
    assert differing(export, painted) == 0


def test_outlines(tmp_path, written):
    """Drawn by the rule of each format: others only at edges."""
    name, _, _ = written
    out = tmp_path / 'x'
    painted = write_scenes(out, name, size=SIZE, outlines=True)
    export, _ = read(name, out)
    share = differing(export, painted)
    print(f'{name}: at most {share:.2%} of the pixels of a scene differ')
    assert share <= OUTLINES.get(name, 0)


def test_tallies(written):
    """They count the pixels that label maps have."""
    name, out, _ = written
    export, tallies = read(name, out)
    for picture, tally in zip(export.pictures, tallies, strict=True):
        labels = export.label_map(picture)
        counts = np.zeros(256, np.int64)
        for key, count in tally.counts.items():
            counts[export.index_of(key)] += count
        assert (counts == np.bincount(labels.ravel(), minlength=256)).all()
        assert tally.size == SIZE


def test_instances(written):
    """Each is there once, and nothing else is."""
    name, out, painted = written
    export, _ = read(name, out)
    least = INSTANCES.get(name, 1)
    for picture, each in in_order(export, painted):
        found = [
            (export.classes.names[region.category], mask_of(region, SIZE))
            for region in export.regions(picture)
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
    name, out, painted = written
    export, _ = read(name, out)
    for picture, each in in_order(export, painted):
        assert picture.split == each.split


def test_no_split(tmp_path, written):
    """None is named, or one where trees cannot be without."""
    name, _, _ = written
    out = tmp_path / 'x'
    painted = write_scenes(out, name, size=SIZE, splits=False)
    export, _ = read(name, out)
    assert differing(export, painted) == 0
    assert len({picture.split for picture in export.pictures}) == 1


def test_other_formats_leave_it(written):
    """What a format writes is that of no other one."""
    name, out, _ = written
    folder = Folder.listed(out)
    kinds = {key: format_of(module) for key, module in formats().items()}
    instead = set(kinds[name].INSTEAD_OF)
    # Whose place is taken may find fault with it.
    others = kinds.keys() - instead - {name}
    assert [key for key in others if kinds[key].found(folder)] == []
    assert kinds[name].found(folder) is not None
