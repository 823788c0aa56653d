"""What the scan of files finds, against naive ways to read them."""

import logging
import os
from pathlib import Path

import cv2
import numpy as np
import pytest
from mmcv.transforms import BaseTransform, LoadImageFromFile
from mmengine.config import ConfigDict
from mmengine.fileio import BaseStorageBackend, register_backend
from mmengine.logging import MMLogger, print_log
from mmengine.registry import DefaultScope
from mmseg.datasets import BaseSegDataset
from mmseg.datasets.transforms import LoadAnnotations
from mmseg.registry import DATASETS, TRANSFORMS
from PIL import Image

from helpers.mask_files import exif_chunk, png_file, saved
from helpers.mask_forms import TRUTHS, file_name, forms
from mmseg_ext.doctor import scan
from mmseg_ext.doctor.image_scans import scan_image
from mmseg_ext.doctor.label_scans import Source, scan_label
from mmseg_ext.doctor.parts import GRID, Part
from mmseg_ext.doctor.scan import scan_parts

RNG = np.random.default_rng(0)
RGB = RNG.integers(0, 256, (20, 30, 3), np.uint8).repeat(8, 0).repeat(8, 1)
TURNED = Image.Exif()
TURNED[274] = 6


def scanned(*datasets, nproc=1, sample=None, cache=None):
    """Return the samples of some data sets."""
    parts = [
        Part('train', 'key', ConfigDict(), dataset, total=len(dataset))
        for dataset in datasets
    ]
    scan_parts(parts, nproc, sample, cache)
    return [part.samples for part in parts]


def folder_of(tmp_path, labels):
    """Write labels with images of the same names."""
    for name in ('images', 'labels'):
        (tmp_path / name).mkdir()
    for name, data in labels.items():
        (tmp_path / 'labels' / name).write_bytes(data)
        (tmp_path / 'images' / name).write_bytes(saved(RGB))
    return tmp_path


def data_set(folder, *steps, kind=BaseSegDataset, **options):
    """Return a data set of MMSeg of the files in a folder."""
    classes = [f'class {index}' for index in range(11)]
    arguments = dict(
        data_root=str(folder),
        data_prefix=dict(img_path='images', seg_map_path='labels'),
        metainfo=dict(classes=classes),
        img_suffix='.png',
        seg_map_suffix='.png',
        pipeline=list(steps) or [dict(type='LoadAnnotations')],
        serialize_data=False,  # which takes long beside other tests
    )
    with DefaultScope.overwrite_default_scope('mmseg'):
        return kind(**arguments | options)


@pytest.fixture(scope='session')
def every_form(tmp_path_factory):
    """One label map in all forms of files."""
    files = forms(TRUTHS['11 classes and 255'])
    return folder_of(
        tmp_path_factory.mktemp('forms'),
        {file_name(form): data for form, data in files.items()},
    )


@pytest.fixture
def few(tmp_path):
    """Five gray label maps with images."""
    return folder_of(
        tmp_path,
        {
            f'{number}.png': saved(RNG.integers(0, 9, (40, 50), np.uint8))
            for number in range(5)
        },
    )


def as_loaded(dataset, position):
    """Return what the pipeline loads, and what of it is at the grid."""
    label = dataset[position]['gt_seg_map']
    height, width = label.shape
    values, counts = np.unique(label, return_counts=True)
    grid = [
        label[(row * 2 + 1) * height // 32, (column * 2 + 1) * width // 32]
        for row in range(GRID)
        for column in range(GRID)
    ]
    found = dict(zip(values.tolist(), counts.tolist(), strict=True))
    return found, bytes(grid)


ALL = tuple(f'class {index}' for index in range(11))


@pytest.mark.parametrize(
    ('loader', 'options'),
    [
        ('LoadAnnotations', {}),
        ('LoadAnnotations', {'reduce_zero_label': True}),
        ('FastLoadAnnotations', {}),
        ('FastLoadAnnotations', {'reduce_zero_label': True}),
    ],
)
def test_labels_are_those_that_are_loaded(every_form, loader, options):
    dataset = data_set(every_form, dict(type=loader), **options)
    again = data_set(every_form, dict(type=loader), **options)
    [samples] = scanned(dataset)
    assert len(samples) == len(dataset) > 70
    loaded = 0
    for place, _, label in samples:
        try:
            expected = as_loaded(again, place.position)
        except Exception:
            assert label.loaded is None, place.label
            assert label.loaded_fault, place.label
            continue
        assert (label.loaded, label.grid) == expected, place.label
        assert label.loaded_fault is None
        loaded += 1
    assert loaded > 20


@pytest.mark.parametrize(
    'truth', ['11 classes and 255', 'black and white among others']
)
def test_colors_are_those_that_are_loaded(tmp_path, truth):
    truth = TRUTHS[truth]
    files = {file_name(form): data for form, data in forms(truth).items()}
    folder = folder_of(tmp_path, files)
    made = [
        data_set(
            folder,
            dict(type='LoadColorMasks'),
            kind=DATASETS.get('ColorMaskDataset'),
            class_dict=truth.class_dict,
            metainfo=None,
        )
        for _ in range(2)
    ]
    [samples] = scanned(made[0])
    found = {'label': 0, 'fault': 0}
    for place, _, label in samples:
        try:
            expected = as_loaded(made[1], place.position)
        except Exception:
            assert label.loaded is None, place.label
            assert label.loaded_fault, place.label
            found['fault'] += 1
            continue
        assert (label.loaded, label.grid) == expected, place.label
        found['label'] += 1
    assert found['label'] > 30
    assert found['fault'] > 5


@pytest.mark.parametrize(('share', 'loads'), [(0.05, True), (0.5, False)])
def test_unknown_colors(tmp_path, share, loads):
    classes = {f'class {n}': (n, 0, 9) for n in range(30)}
    rgb = np.zeros((30, 100, 3), np.uint8)
    rgb[..., 0] = np.arange(30)[:, None]
    rgb[..., 2] = 9
    rgb[:, : round(100 * share)] = 77
    folder = folder_of(tmp_path, {'a.png': saved(rgb)})
    step = dict(type='LoadColorMasks')
    kind = DATASETS.get('ColorMaskDataset')
    dataset = data_set(
        folder, step, kind=kind, class_dict=classes, metainfo=None
    )
    [[(_, _, label)]] = scanned(dataset)
    assert label.colors == 31
    assert (label.loaded_fault is None) == loads
    if loads:
        assert label.loaded == {255: 150} | dict.fromkeys(range(30), 95)
    else:
        assert label.loaded is None


def test_values_are_those_that_are_stored(every_form):
    [samples] = scanned(data_set(every_form))
    grays = colors = 0
    for place, _, label in samples:
        with Image.open(place.label) as image:
            pixels = np.asarray(image)
            size, mode, kind = image.size, image.mode, image.format
            turned = image.getexif().get(274, 1) != 1
        assert label.size == size, place.label
        if label.fault or label.lossy or turned:
            continue
        if mode in ('P', 'L') and '4-bit' not in label.form:
            values, counts = np.unique(pixels, return_counts=True)
            stored = zip(values.tolist(), counts.tolist(), strict=True)
            if kind != 'PPM':  # Pillow stretches those of 15
                assert label.values == dict(stored), place.label
            assert label.colors == 0
            grays += 1
        elif mode in ('RGB', 'RGBA'):
            rgb = pixels.reshape(-1, pixels.shape[2])[:, :3]
            assert label.colors == len(np.unique(rgb, axis=0)), place.label
            colors += 1
    assert grays > 15
    assert colors > 10


def test_16_bits_are_not_wrapped(tmp_path):
    label = np.array([[0, 1, 256, 300]] * 4, np.uint16)
    folder = folder_of(tmp_path, {'a.png': saved(label)})
    [[(_, _, found)]] = scanned(data_set(folder))
    assert found.form == '16-bit gray PNG'
    assert found.values == {0: 4, 1: 4, 256: 4, 300: 4}
    # As MMSeg has it.
    assert found.loaded == {0: 8, 1: 4, 44: 4}


def test_lossy_labels_are_read(tmp_path):
    label = np.zeros((64, 64), np.uint8)
    cv2.circle(label, (30, 30), 20, 9, -1)
    files = {
        'gray.png': saved(label, 'JPEG', quality=60),
        'same.png': saved(label),
    }
    [samples] = scanned(data_set(folder_of(tmp_path, files)))
    gray, same = (each.label for each in samples)
    assert (gray.lossy, same.lossy) == (True, False)
    assert same.values == {0: np.sum(label == 0), 9: np.sum(label == 9)}
    assert len(gray.values) > 4
    assert sum(gray.values.values()) == label.size
    assert gray.colors == 1 or gray.colors == len(gray.values)


def test_equal_labels_have_equal_digests():
    label = TRUTHS['two classes'].labels
    other = label.copy()
    other[-1, -1] ^= 1
    one, same, changed, wide = (
        scan_label(data, Source()).digest
        for data in (
            saved(label),
            png_file(label, 8, 0),
            saved(other),
            saved(label.reshape(16, -1)),
        )
    )
    assert one == same
    assert len({one, changed, wide}) == 3


IMAGES = {
    'JPEG RGB': saved(RGB, 'JPEG', quality=95),
    'JPEG L': saved(RGB[..., 0], 'JPEG'),
    'JPEG CMYK': saved(Image.fromarray(RGB).convert('CMYK'), 'JPEG'),
    'PNG RGB': saved(RGB),
    'PNG L': saved(RGB[..., 0]),
    'PNG P': saved(Image.fromarray(RGB).quantize(64, dither=0)),
    'PNG 1': saved(Image.fromarray(RGB[..., 0] > 99)),
    'PNG LA': saved(Image.fromarray(RGB).convert('LA')),
    'PNG RGBA': saved(Image.fromarray(RGB).convert('RGBA')),
    'PNG I;16': cv2.imencode('.png', RGB[..., 0].astype(np.uint16) * 257)[1],
    'PNG RGB;16': cv2.imencode('.png', RGB.astype(np.uint16) * 257)[1],
    'TIFF RGB': saved(RGB, 'TIFF'),
    'TIFF I;16': saved(RGB[..., 0].astype(np.uint16) * 257, 'TIFF'),
    'BMP RGB': saved(RGB, 'BMP'),
    'WEBP RGB': saved(RGB, 'WEBP', quality=95),
}


@pytest.mark.parametrize('form', IMAGES)
def test_images_are_those_that_are_loaded(tmp_path, form):
    data = bytes(IMAGES[form])
    path = tmp_path / 'image'
    path.write_bytes(data)
    image = LoadImageFromFile()(dict(img_path=str(path)))['img']
    found = scan_image(data)
    assert (found.fault, found.form, found.turned) == (None, form, 1)
    assert found.size == (image.shape[1], image.shape[0])
    rgb = image[..., ::-1]
    assert found.gray == (np.ptp(image, axis=2).max() == 0)
    np.testing.assert_allclose(found.mean, rgb.mean(axis=(0, 1)), atol=1)
    # At an eighth the blocks of a color are single pixels.
    blurred = rgb.std(axis=(0, 1))
    np.testing.assert_allclose(found.deviation, blurred, rtol=0.2)
    assert len(found.words) == len(scan_image(saved(RGB)).words) > 0


@pytest.mark.parametrize(('side', 'deviation'), [(63, 100), (512, 0)])
def test_small_images_are_not_reduced(side, deviation):
    image = np.zeros((side, side, 3), np.uint8)
    image[:, ::2] = 200
    found = scan_image(saved(image))
    assert found.mean == pytest.approx((100, 100, 100), abs=2)
    assert found.deviation == pytest.approx((deviation,) * 3, abs=1)


@pytest.mark.parametrize('number', range(1, 9))
def test_images_turned_by_exif(tmp_path, number):
    exif = Image.Exif()
    exif[274] = number
    for name, data in {
        'a.jpg': saved(Image.fromarray(RGB), 'JPEG', exif=exif),
        'a.png': png_file(RGB, 8, 2, exif_chunk(number)),
        'b.png': png_file(RGB, 8, 2, after=exif_chunk(number)),
    }.items():
        (tmp_path / name).write_bytes(data)
        height, width = cv2.imread(str(tmp_path / name)).shape[:2]
        found = scan_image(data)
        assert (found.size, found.turned) == ((width, height), number), name


def test_turned_nearly_square_images():
    for shape in ((801, 804), (804, 801)):
        image = Image.fromarray(np.zeros((*shape, 3), np.uint8))
        straight = scan_image(saved(image, 'JPEG'))
        turned = scan_image(saved(image, 'JPEG', exif=TURNED))
        assert straight.size == shape[::-1]
        assert turned.size == shape


@pytest.mark.filterwarnings('ignore')  # Pillow's, of TIFF files
@pytest.mark.parametrize('form', IMAGES)
def test_images_that_are_cut_off(form):
    data = bytes(IMAGES[form])
    for end in (0, 100, len(data) // 2, len(data) - 3):
        found = scan_image(data[:end])
        assert found.size is None
        assert found.fault
        assert '\n' not in found.fault
        assert not found.missing


def test_more_behind_the_end_is_no_fault():
    for more in (bytes(9), b'from a camera'):
        assert scan_image(IMAGES['JPEG RGB'] + more).fault is None


def test_files_that_cannot_be_read(few):
    dataset = data_set(few)
    images, labels = few / 'images', few / 'labels'
    for folder in (images, labels):
        (folder / '0.png').write_bytes(b'')
        (folder / '1.png').unlink()
        (folder / '1.png').symlink_to(few / 'nowhere')
        data = (folder / '2.png').read_bytes()
        (folder / '2.png').write_bytes(data[: len(data) // 2])
        (folder / '3.png').unlink()
        os.mkfifo(folder / '3.png')
    [samples] = scanned(dataset)
    assert [s.place.position for s in samples] == list(range(5))
    for found in ([s.image for s in samples], [s.label for s in samples]):
        assert [f.missing for f in found] == [False, True, *[False] * 3]
        assert found[1].fault.startswith('missing')
        assert '0 bytes' in found[0].fault
        assert 'truncated' in found[2].fault
        assert 'pipe' in found[3].fault
        assert str(few) not in ''.join(str(f.fault) for f in found)
        assert found[4].fault is None
    assert all(s.label.loaded is None for s in samples[:4])


def test_bombs_are_refused():
    header = png_file(np.zeros((1, 1), np.uint8), 8, 0)
    data = header.replace(header[16:24], (50000).to_bytes(4, 'big') * 2)
    for found in (scan_image(data), scan_label(data, Source())):
        assert found.fault


# Which files are read, and how often.


@pytest.fixture
def reads(monkeypatch):
    """The files that are read."""
    found = []

    def read_file(path):
        found.append(os.path.relpath(path, os.path.dirname(path) + '/..'))
        return original(path)

    original = scan.read_file
    monkeypatch.setattr(scan, 'read_file', read_file)
    return found


def test_each_file_is_read_once(few, reads):
    plain = data_set(few)
    twice = data_set(few)
    twice.data_list = twice.data_list * 2
    other = data_set(few, reduce_zero_label=True)
    one, same, reduced = scanned(plain, twice, other)
    assert len(one) == len(same) == 5
    assert one == same
    assert [s.image for s in reduced] == [s.image for s in one]
    assert reduced[0].label.loaded != one[0].label.loaded
    images = [f'images/{n}.png' for n in range(5)]
    labels = [f'labels/{n}.png' for n in range(5)]
    assert sorted(reads) == sorted(images + labels * 2)


def test_a_sample_is_spread(few, reads):
    [samples] = scanned(data_set(few), sample=2)
    assert [s.place.position for s in samples] == [1, 3]
    assert len(reads) == 4
    [samples] = scanned(data_set(few), sample=9)
    assert len(samples) == 5


def test_two_processes_find_the_same(few):
    (few / 'images/3.png').write_bytes(b'broken')
    assert scanned(data_set(few), nproc=2) == scanned(data_set(few))


def test_cache(few, reads, tmp_path):
    cache = tmp_path / 'cache'
    first = scanned(data_set(few), cache=cache)
    reads.clear()
    assert scanned(data_set(few), cache=cache) == first
    assert reads == []
    path = few / 'labels/2.png'
    data = path.read_bytes()
    stat = path.stat()
    path.write_bytes(data)
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns + 1))
    assert scanned(data_set(few), cache=cache) == first
    assert reads == ['labels/2.png']
    reads.clear()
    [samples] = scanned(data_set(few, reduce_zero_label=True), cache=cache)
    assert sorted(reads) == [f'labels/{n}.png' for n in range(5)]
    assert samples[0].label.loaded == {
        {0: 255}.get(value, value - 1): count
        for value, count in first[0][0].label.values.items()
    }


def test_cache_of_a_loader_of_the_users_own(few, reads, tmp_path):
    cache = tmp_path / 'cache'

    @TRANSFORMS.register_module(force=True)
    class LoadPlusOne(LoadAnnotations):
        def transform(self, results):
            super().transform(results)
            results['gt_seg_map'] = results['gt_seg_map'] + 1
            return results

    for _ in range(2):
        reads.clear()
        dataset = data_set(few, dict(type='LoadPlusOne'))
        [samples] = scanned(dataset, cache=cache)
        for sample in samples:
            assert sample.label.loaded == {
                value + 1: count
                for value, count in sample.label.values.items()
            }
    # It may be another one by now.
    assert sorted(reads) == [f'labels/{n}.png' for n in range(5)]


@pytest.mark.parametrize(
    'content', [b'', b'{}', b'\x93\x01\x90\x90', bytes(range(256))]
)
def test_foreign_caches(few, tmp_path, content):
    cache = tmp_path / 'cache'
    cache.write_bytes(content)
    expected = scanned(data_set(few))
    assert scanned(data_set(few), cache=cache) == expected
    assert scanned(data_set(few), cache=cache) == expected


def test_cut_off_caches(few, tmp_path):
    cache = tmp_path / 'cache'
    expected = scanned(data_set(few), cache=cache)
    cache.write_bytes(cache.read_bytes()[:-50])
    assert scanned(data_set(few), cache=cache) == expected


def test_cache_forgets_what_is_gone(few, tmp_path):
    cache = tmp_path / 'cache'
    scanned(data_set(few), cache=cache)
    assert b'images/4.png' in cache.read_bytes()
    for folder in ('images', 'labels'):
        (few / folder / '4.png').unlink()
    scanned(data_set(few), sample=2, cache=cache)
    assert b'images/4.png' in cache.read_bytes()
    scanned(data_set(few), cache=cache)
    assert b'/4.png' not in cache.read_bytes()
    assert b'images/3.png' in cache.read_bytes()


def test_what_was_read_before_a_stop_is_kept(few, tmp_path, monkeypatch):
    cache = tmp_path / 'cache'

    def stop(data):
        if stop.calls == 3:
            raise KeyboardInterrupt
        stop.calls += 1
        return scan_image(data)

    stop.calls = 0
    monkeypatch.setattr(scan, 'scan_image', stop)
    with pytest.raises(KeyboardInterrupt):
        scanned(data_set(few), cache=cache)
    assert b'images/2.png' in cache.read_bytes()
    assert b'images/3.png' not in cache.read_bytes()


# Data sets.


@TRANSFORMS.register_module()
class HalfLabels(BaseTransform):
    """Load labels in a way of one's own."""

    def transform(self, results):
        label = cv2.imread(results['seg_map_path'], cv2.IMREAD_UNCHANGED)
        results['gt_seg_map'] = label // 2
        results['seg_fields'].append('gt_seg_map')
        return results


def test_a_pipeline_of_the_users_own(few):
    steps = [
        dict(type='LoadImageFromFile'),
        dict(type='HalfLabels'),
        dict(type='PackSegInputs'),
    ]
    [samples] = scanned(data_set(few, *steps))
    for sample in samples:
        expected = {}
        for value, count in sample.label.values.items():
            expected[value // 2] = expected.get(value // 2, 0) + count
        assert sample.label.loaded == expected


def test_changed_labels(few):
    steps = [
        dict(type='LoadAnnotations'),
        dict(type='MapLabels', label_map={3: 4, 4: 3, 8: 3}),
    ]
    dataset = data_set(few, *steps)
    [samples] = scanned(dataset)
    for place, _, label in samples:
        assert label.loaded[3] == label.values[4] + label.values[8]
        assert (label.loaded, label.grid) == as_loaded(dataset, place.position)


class Parcels(BaseStorageBackend):
    """Where files have other names."""

    def get(self, filepath):
        if filepath.endswith('4.png'):
            raise FileNotFoundError(filepath)
        return Path(filepath.replace('parcel://', '')).read_bytes()

    def get_text(self, filepath, encoding='utf-8'):
        raise NotImplementedError


def test_files_of_another_backend(few):
    register_backend('parcels', Parcels, force=True)
    backend = dict(backend='parcels')
    dataset = data_set(
        few,
        dict(type='LoadImageFromFile', backend_args=backend),
        dict(type='LoadAnnotations', backend_args=backend),
    )
    for info in dataset.data_list:
        info['img_path'] = 'parcel://' + info['img_path']
        info['seg_map_path'] = 'parcel://' + info['seg_map_path']
    [samples] = scanned(dataset)
    [others] = scanned(data_set(few))
    for sample, other in zip(samples[:4], others[:4], strict=True):
        assert sample.image == other.image
        assert sample.label == other.label
    assert samples[4].image.missing
    assert samples[4].label.missing


def test_labels_that_nothing_loads(few):
    [samples] = scanned(data_set(few, dict(type='LoadImageFromFile')))
    assert all(s.label.values for s in samples)
    assert all(s.label.loaded is None for s in samples)
    assert all(s.label.loaded_fault is None for s in samples)


def test_no_labels(few):
    dataset = data_set(few, data_prefix=dict(img_path='images'))
    [samples] = scanned(dataset)
    assert [s.label for s in samples] == [None] * 5


def test_custom_classes_take_part(few):
    class Nine(BaseSegDataset):
        METAINFO = dict(classes=ALL, palette=[[i] * 3 for i in range(11)])

    classes = dict(classes=('class 3', 'class 1'))
    dataset = data_set(few, kind=Nine, metainfo=classes)
    [samples] = scanned(dataset)
    values = samples[0].label.values
    assert samples[0].label.loaded == {
        0: values[3],
        1: values[1],
        255: sum(values.values()) - values[3] - values[1],
    }


def test_images_of_mmdet(shapes):
    for part in shapes.examine().case.parts:
        assert len(part.samples) == part.total > 0
        for sample in part.samples:
            assert sample.label is None
            assert sample.image.size == (96, 72)


def test_images_that_only_their_own_loader_reads(few):
    @TRANSFORMS.register_module(force=True)
    class LoadArrays(BaseTransform):
        def transform(self, results):
            results['img'] = np.load(results['img_path'])
            return results

    for path in (few / 'images').iterdir():
        with open(path, 'wb') as file:
            np.save(file, np.zeros((40, 50, 7)))
    steps = dict(type='LoadArrays'), dict(type='LoadAnnotations')
    [samples] = scanned(data_set(few, *steps))
    assert {s.image.size for s in samples} == {(50, 40)}
    assert {s.image.fault for s in samples} == {None}
    [samples] = scanned(data_set(few))
    assert all(s.image.fault for s in samples)


def test_nothing_is_said_of_single_files(few):
    (few / 'labels/0.png').write_bytes(
        saved(np.array([[0, 255]], np.uint8).repeat(9, axis=0))
    )
    dataset = data_set(few, dict(type='FastLoadAnnotations'))
    logger, said = MMLogger.get_current_instance(), []
    told = logging.Handler()
    told.emit = lambda record: said.append(record.getMessage())
    logger.addHandler(told)
    print_log('before', 'current', logging.WARNING)
    scanned(dataset)
    print_log('after', 'current', logging.WARNING)
    logger.removeHandler(told)
    assert said == ['before', 'after']
