"""What a detector found, on disk."""

import json

import pytest

from helpers.instance_runs import (
    detection,
    instances,
    label,
    random_instances,
    write_instance_run,
)
from mmseg_ext.formats.instance_records import read_instances

BOX = [10, 20, 30, 40]


@pytest.mark.parametrize('masks', [False, True], ids=['boxes', 'masks'])
def test_it_is_read_as_it_was_written(tmp_path, masks):
    content = random_instances(masks=masks)
    meta = write_instance_run(tmp_path / 'run', content, ('a', 'b', 'c'))
    read = read_instances(tmp_path / 'run', meta)
    assert read.images == content.images
    assert read.detections == content.detections
    assert read.has_masks == masks
    for old, new in zip(content.labels, read.labels, strict=True):
        assert new.area == old.bbox[2] * old.bbox[3]
        new.area = None
        assert new == old


def test_ids_are_any(tmp_path):
    """Those of MMDet count from 1, and labels of COCO have gaps."""
    meta = write_instance_run(
        tmp_path / 'run',
        instances([label(1, 1, BOX)], [detection(1, 0, BOX)]),
    )
    change(
        tmp_path / 'run' / 'annotations.json',
        lambda file: (
            file['images'][1].update(id=70),
            file['categories'][0].update(id=9),
            file['categories'][1].update(id=4),
            file['annotations'][0].update(image_id=70, category_id=4),
        ),
    )
    change(
        tmp_path / 'run' / 'detections.json',
        lambda rows: rows[0].update(image_id=70, category_id=9),
    )
    read = read_instances(tmp_path / 'run', meta)
    assert [(e.image_id, e.category_id) for e in read.labels] == [(1, 1)]
    assert [(e.image_id, e.category_id) for e in read.detections] == [(1, 0)]


def change(path, action):
    content = json.loads(path.read_bytes())
    action(content)
    path.write_text(json.dumps(content))


def other(**fields):
    """Change the first detection."""
    return 'detections.json', lambda rows: rows[0].update(fields)


@pytest.mark.parametrize(
    ('change_of', 'message'),
    [
        pytest.param(
            other(image_id=7), 'instance 0 is of image 7, which', id='image'
        ),
        pytest.param(
            other(category_id=7), 'instance 0 is of category 7', id='class'
        ),
        pytest.param(other(bbox=[]), 'instance 0 has no box', id='no box'),
        pytest.param(other(bbox=[1, 2]), 'bbox of 2 numbers', id='half a box'),
        pytest.param(
            other(bbox=[10, 10, -5, 5]),
            'instance 0 has a box of negative size, [10.0, 10.0, -5.0, 5.0]',
            id='negative box',
        ),
        pytest.param(other(score=1.5), 'Expected `float` <= 1', id='score'),
        pytest.param(other(score='1'), 'Expected `float`', id='text'),
        pytest.param(
            other(segmentation={'size': [2, 2], 'counts': '4'}),
            'a mask of height x width',
            id='mask of another size',
        ),
        pytest.param(
            other(segmentation={'size': [240, 320], 'counts': '4'}),
            'its runs cover 4 pixels',
            id='mask cut off',
        ),
        pytest.param(
            ('annotations.json', lambda file: file['images'].pop()),
            '1 images of the classes nail, thumb; expected, as meta.json',
            id='images',
        ),
        pytest.param(
            ('annotations.json', lambda file: file['categories'].reverse()),
            'of the classes thumb, nail; expected',
            id='classes',
        ),
        pytest.param(
            (
                'annotations.json',
                lambda file: file['images'][1].update(
                    width=60_000, height=60_000
                ),
            ),
            'image 1.png of 60000x60000 is larger than any',
            id='huge',
        ),
        pytest.param(
            (
                'annotations.json',
                lambda file: file['images'][1].update(id=0),
            ),
            'two images or two categories have one id',
            id='ids',
        ),
    ],
)
def test_what_does_not_fit_is_named(tmp_path, change_of, message):
    name, action = change_of
    meta = write_instance_run(
        tmp_path / 'run',
        instances([label(0, 0, BOX)], [detection(0, 0, BOX)]),
    )
    change(tmp_path / 'run' / name, action)
    with pytest.raises(ValueError, match='evaluate again') as error:
        read_instances(tmp_path / 'run', meta)
    assert str(tmp_path / 'run' / name) in str(error.value)
    assert message in str(error.value)


@pytest.mark.parametrize('name', ['annotations.json', 'detections.json'])
def test_a_file_cut_off(tmp_path, name):
    meta = write_instance_run(
        tmp_path, instances([label(0, 0, BOX)], [detection(0, 0, BOX)])
    )
    data = (tmp_path / name).read_bytes()
    (tmp_path / name).write_bytes(data[:-9])
    with pytest.raises(ValueError, match='it is cut off or was changed'):
        read_instances(tmp_path, meta)
    (tmp_path / name).unlink()
    with pytest.raises(FileNotFoundError, match=f'{name} is not there, so'):
        read_instances(tmp_path, meta)


def test_masks_that_some_lack(tmp_path):
    """Boxes are scored then, and it is said."""
    content = instances(
        [label(0, 0, BOX, True), label(1, 0, BOX)],
        [detection(0, 0, BOX, masks=True)],
    )
    read = read_instances(tmp_path, write_instance_run(tmp_path, content))
    assert not read.has_masks
    assert read.maskless.startswith('1 of 3 labels and detections')
    boxes = instances([label(0, 0, BOX)], [detection(0, 0, BOX)])
    assert boxes.maskless == ''
