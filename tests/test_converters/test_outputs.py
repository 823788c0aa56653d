import os

import numpy as np
import pytest
from PIL import Image

from mmseg_ext.converters.core import Invalid, InvalidInputError
from mmseg_ext.converters.outputs import Outputs
from mmseg_ext.utils.images import encode_labels, encode_png


@pytest.fixture
def labels():
    return np.arange(12, dtype=np.uint8).reshape(3, 4)


def test_same_pixels_are_kept(tmp_path, labels):
    outputs, path = Outputs(tmp_path), tmp_path / 'a' / 'x.png'
    assert outputs.write_png(path, encode_labels(labels), 'x.json')
    assert (np.array(Image.open(path)) == labels).all()
    before = path.read_bytes()
    assert not outputs.write_png(path, encode_labels(labels), 'x.json')
    other = encode_png(labels)
    assert other != before
    assert not outputs.write_png(path, other, 'x.json')
    assert path.read_bytes() == before


@pytest.mark.parametrize(
    'there',
    [
        pytest.param(b'', id='empty'),
        pytest.param(b'no image', id='other'),
        pytest.param(encode_labels(np.zeros((3, 4), np.uint8)), id='pixels'),
        pytest.param(encode_labels(np.zeros((4, 3), np.uint8)), id='size'),
    ],
)
def test_other_content_is_refused_or_replaced(tmp_path, labels, there):
    path = tmp_path / 'x.png'
    path.write_bytes(there)
    data = encode_labels(labels)
    with pytest.raises(ValueError, match=r'is not what x\.json gives.*overwr'):
        Outputs(tmp_path).write_png(path, data, 'x.json')
    assert path.read_bytes() == there
    assert Outputs(tmp_path, overwrite=True).write_png(path, data, 'x.json')
    assert path.read_bytes() == data


def test_strangers_are_refused(tmp_path):
    outputs = Outputs(tmp_path)
    expected = [tmp_path / 'a' / '1.png', tmp_path / 'b' / '2.png']
    outputs.refuse_strangers(expected)
    for path in (*expected, tmp_path / 'a' / '.3.png', tmp_path / 'c.txt'):
        path.parent.mkdir(exist_ok=True)
        path.touch()
    (tmp_path / 'a' / 'folder').mkdir()
    outputs.refuse_strangers(expected)
    (tmp_path / 'b' / '3.png').touch()
    with pytest.raises(ValueError, match=r'b/3\.png is there, but no input'):
        outputs.refuse_strangers(expected)


def test_nothing_stays_of_what_is_left_out(tmp_path):
    paths = [tmp_path / '1.png', tmp_path / '2.png']
    Outputs(tmp_path).drop(paths, 'x')
    paths[1].touch()
    with pytest.raises(ValueError, match=r'2\.png is there, .*what x gives'):
        Outputs(tmp_path).drop(paths, 'x')
    Outputs(tmp_path, overwrite=True).drop(paths, 'x')
    assert list(tmp_path.iterdir()) == []


def test_place_links_or_copies(tmp_path):
    source, path = tmp_path / 'source', tmp_path / 'out' / 'x'
    source.write_bytes(b'content')
    outputs = Outputs(tmp_path)
    assert outputs.place(source, path, copy=False)
    assert path.samefile(source)
    assert not outputs.place(source, path, copy=False)
    assert outputs.place(source, path, copy=True)
    assert not path.samefile(source)
    assert path.read_bytes() == b'content'
    assert not outputs.place(source, path, copy=True)
    assert not outputs.place(source, path, copy=False)
    path.write_bytes(b'another')
    with pytest.raises(ValueError, match='is not what'):
        outputs.place(source, path, copy=False)
    assert Outputs(tmp_path, overwrite=True).place(source, path, copy=False)
    assert path.samefile(source)
    assert [entry.name for entry in path.parent.iterdir()] == ['x']


def test_claim(tmp_path):
    record = tmp_path / 'a.record.json'
    results = [tmp_path / '1.png', tmp_path / '2.png']
    outputs = Outputs(tmp_path)
    assert outputs.claim(record, {'table': 1}, results)
    results[1].touch()
    assert outputs.claim(record, {'table': 1}, results)
    with pytest.raises(ValueError, match=r'a\.record\.json tells.*overwrite'):
        outputs.claim(record, {'table': 2}, results)
    anew = Outputs(tmp_path, overwrite=True)
    assert anew.claim(record, {'table': 2}, results)
    assert not results[1].exists()
    assert outputs.claim(record, {'table': 2}, results)


def test_results_without_a_record_are_not_trusted(tmp_path):
    record, result = tmp_path / 'a.record.json', tmp_path / '1.png'
    result.touch()
    outputs = Outputs(tmp_path)
    assert not outputs.claim(record, 1, [result])
    # Nor are they in the next run, if this one was stopped.
    assert not outputs.claim(record, 1, [result])
    outputs.note(record, 1)
    assert outputs.claim(record, 1, [result])
    assert result.exists()


def test_no_result_takes_the_place_of_its_input(tmp_path, labels):
    path = tmp_path / 'x.png'
    path.write_bytes(encode_labels(labels))
    (tmp_path / 'link.png').symlink_to(path)
    for source in (path, tmp_path / 'link.png'):
        outputs = Outputs(tmp_path, overwrite=True)
        with pytest.raises(ValueError, match='place of what it is made from'):
            outputs.write_png(path, encode_labels(labels), source)
    assert path.read_bytes() == encode_labels(labels)


def test_copies_are_compared_byte_by_byte(tmp_path):
    source, path = tmp_path / 'source', tmp_path / 'x'
    source.write_bytes(b'x' * 100)
    path.write_bytes(b'y' * 100)
    for file in (source, path):
        os.utime(file, ns=(10**18, 10**18))
    with pytest.raises(ValueError, match='is not what'):
        Outputs(tmp_path).place(source, path, copy=True)


def test_sift(tmp_path):
    def targets(job):
        return [tmp_path / f'{job}.png']

    bad = InvalidInputError('b.json', 'is bad')
    results = [('a', 1), ('b', bad), ('c', 3)]
    outputs, invalid = Outputs(tmp_path), Invalid(skip=True)
    sifted = list(outputs.sift(results, invalid, targets))
    assert sifted == [('a', 1), ('c', 3)]
    assert [skip.file for skip in invalid.skips] == ['b.json']
    targets('b')[0].touch()
    with pytest.raises(ValueError, match=r'b\.png is there, .* b\.json gives'):
        list(outputs.sift(results, invalid, targets))
    with pytest.raises(ValueError, match=r'b\.json: is bad; mend it'):
        list(outputs.sift(results, Invalid(skip=False), targets))
