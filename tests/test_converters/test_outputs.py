import os

import numpy as np
import pytest
from PIL import Image

from helpers.label_files import gray_png, in_all_forms
from helpers.mask_files import saved
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


@pytest.mark.parametrize(
    'form', [*in_all_forms(np.zeros((3, 4), np.uint8)), 'transparent']
)
def test_same_values_in_another_form_are_refused(tmp_path, form):
    """Not every loader reads these as they are stored."""
    path, labels = tmp_path / 'x.png', np.eye(3, 4, dtype=np.uint8)
    files = in_all_forms(labels)
    files['transparent'] = saved(labels, transparency=9)
    path.write_bytes(files[form])
    with pytest.raises(ValueError, match=r'is not what x\.json gives'):
        Outputs(tmp_path).write_png(path, encode_labels(labels), 'x.json')
    assert Outputs(tmp_path).read_labels(path) is None
    assert not Outputs(tmp_path).is_whole(path, (4, 3))


def test_one_bit_of_white_is_not_255(tmp_path):
    """OpenCV reads them alike, and training does not."""
    labels = np.eye(3, 4, dtype=np.uint8) * 255
    path = tmp_path / 'x.png'
    path.write_bytes(gray_png(labels // 255, 1))
    with pytest.raises(ValueError, match=r'is not what x\.json gives'):
        Outputs(tmp_path).write_png(path, encode_labels(labels), 'x.json')


def test_read_labels(tmp_path, labels):
    outputs, path = Outputs(tmp_path), tmp_path / 'x.png'
    assert outputs.read_labels(path) is None
    for data in (encode_labels(labels), encode_png(labels)):
        path.write_bytes(data)
        read = outputs.read_labels(path)
        assert read.dtype == np.uint8
        assert (read == labels).all()
        path.write_bytes(data[:-30])
        assert outputs.read_labels(path) is None


def test_strangers_are_refused(tmp_path):
    outputs = Outputs(tmp_path)
    expected = [tmp_path / 'a' / '1.png', tmp_path / 'b' / 'deep' / '2.png']
    outputs.refuse_strangers(expected)
    for path in (*expected, tmp_path / 'a' / '.3.png', tmp_path / 'c.txt'):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    (tmp_path / 'a' / 'folder').mkdir()
    outputs.refuse_strangers(expected)
    (tmp_path / 'b' / '3.png').touch()
    with pytest.raises(ValueError, match=r'b/3\.png is there, but no input'):
        outputs.refuse_strangers(expected)
    (tmp_path / 'b' / '3.png').unlink()
    outputs.refuse_strangers(expected, [tmp_path / 'd'])
    (tmp_path / 'd' / 'deep').mkdir(parents=True)
    (tmp_path / 'd' / 'deep' / '4.png').symlink_to('nowhere')
    outputs.refuse_strangers(expected)
    with pytest.raises(ValueError, match=r'd/deep/4\.png is there, but no in'):
        outputs.refuse_strangers(expected, [tmp_path / 'd'])


@pytest.fixture
def places(tmp_path):
    """Folders ``in/deep`` and ``out``, and a link to each."""
    for name in ('in/deep', 'out'):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / 'to_in').symlink_to('in')
    (tmp_path / 'to_out').symlink_to(tmp_path / 'out')
    return tmp_path


@pytest.mark.parametrize(
    ('out_dir', 'result', 'searched'),
    [
        ('out', 'a/1.png', 'in'),
        ('in', 'a/1.png', 'in/deep'),
        ('out', 'in.csv', 'in'),
        ('.', 'a/1.png', 'in'),
        ('to_in', 'in/1.png', 'out'),
    ],
)
def test_results_and_inputs_that_are_apart(places, out_dir, result, searched):
    out = places / out_dir
    file = places / 'in' / '1.png'
    Outputs(out).keep_apart([out / result], [file], [places / searched])


@pytest.mark.parametrize(
    ('out_dir', 'result', 'file'),
    [
        ('.', 'in/1.png', 'in/1.png'),
        ('.', 'in/1.png', 'in/2.png'),
        ('.', 'in/1.png', 'in/deep/2.png'),
        ('.', 'in/1.png', 'to_in/2.png'),
        ('.', 'to_in/deep/1.png', 'in/deep/2.png'),
        ('in', 'deep/1.png', 'in/deep/2.png'),
        ('in', 'a.csv', 'in/a.csv'),
        ('in', 'a.csv', 'to_in/a.csv'),
        ('to_in', 'a.csv', 'in/a.csv'),
    ],
)
def test_results_that_would_take_the_place_of_inputs(
    places, out_dir, result, file
):
    out = places / out_dir
    with pytest.raises(ValueError, match=rf'{file} is read, but /.* is to be'):
        Outputs(out).keep_apart([out / result], [places / file])


@pytest.mark.parametrize('folder', ['a', '.'])
def test_input_that_is_a_link_to_a_result(places, folder):
    out = places / 'out'
    (out / 'a').mkdir()
    (out / folder / '1.csv').touch()
    (places / 'in' / '1.csv').symlink_to(out / folder / '1.csv')
    with pytest.raises(ValueError, match=r'in/1\.csv is read, but /.*out'):
        Outputs(out).keep_apart(
            [out / folder / '1.csv'], [places / 'in' / '1.csv']
        )


@pytest.mark.parametrize(
    ('out_dir', 'searched'),
    [
        ('in', 'in'),
        ('in/deep', 'in'),
        ('to_in', 'in'),
        ('in/deep', 'to_in'),
        ('out', 'to_out'),
        ('in/new', 'in'),
    ],
)
def test_results_that_would_be_input_of_the_next_run(
    places, out_dir, searched
):
    out = places / out_dir
    with pytest.raises(ValueError, match='next run would take what lies in'):
        Outputs(out).keep_apart([out / 'a' / '1'], [], [places / searched])


def test_start_anew(tmp_path):
    paths = [tmp_path / 'report.json', tmp_path / 'class_dict.csv']
    paths[0].touch()
    Outputs(tmp_path).start_anew(paths)
    assert paths[0].exists()
    Outputs(tmp_path, overwrite=True).start_anew(paths)
    assert not paths[0].exists()


@pytest.mark.parametrize('encode', [encode_labels, encode_png])
def test_damage_of_any_byte_is_seen(tmp_path, labels, encode):
    """Size is width and height; OpenCV writes other PNG files than we do."""
    path, data = tmp_path / 'x.png', encode(labels)
    outputs = Outputs(tmp_path)
    assert not outputs.is_whole(path, (4, 3))
    path.write_bytes(data)
    assert outputs.is_whole(path, (4, 3))
    assert not outputs.is_whole(path, (3, 4))
    spoiled = [data[:stop] for stop in range(len(data))]
    spoiled += [data + b'\0', data + data, b'no image', b'\0' * len(data)]
    for at in range(len(data)):
        changed = bytearray(data)
        changed[at] ^= 1 << at % 8
        spoiled.append(bytes(changed))
    for content in spoiled:
        path.write_bytes(content)
        assert not outputs.is_whole(path, (4, 3)), content


def test_label_map_of_another_form_is_damaged(tmp_path, labels):
    path = tmp_path / 'x.png'
    for mode in ('RGB', 'I;16', 'P', '1'):
        Image.new(mode, (4, 3)).save(path)
        assert not Outputs(tmp_path).is_whole(path, (4, 3)), mode
    Image.fromarray(labels).save(path, pnginfo=None)
    assert Outputs(tmp_path).is_whole(path, (4, 3))


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
    record.touch()  # as a loss of power may leave it
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
