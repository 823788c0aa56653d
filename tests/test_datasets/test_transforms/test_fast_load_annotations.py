import copy
import logging
import pickle
from functools import partial

import cv2
import mmcv
import numpy as np
import pytest
from mmseg.datasets import BaseSegDataset
from mmseg.datasets.transforms import LoadAnnotations
from mmseg.registry import TRANSFORMS
from PIL import Image
from torch.utils.data import DataLoader

from helpers.label_files import gray_png
from helpers.loading import log_to, take_first
from helpers.mask_files import saved
from mmseg_ext.datasets.transforms.fast_load_annotations import (
    FastLoadAnnotations,
)
from references import masks as reference

SHAPE = (37, 51)


def values(*shape, high=256):
    return np.random.default_rng(0).integers(0, high, shape).astype(np.uint8)


def results_of(path, **others):
    return {
        'img_path': 'x.jpg',
        'seg_map_path': str(path),
        'seg_fields': [],
        'label_map': None,
        'reduce_zero_label': False,
        **others,
    }


def palette(high=20):
    image = Image.fromarray(values(*SHAPE, high=high), 'P')
    image.putpalette(values(256, 3).tobytes())
    return image


def pgm(white):
    pixels = values(*SHAPE, high=min(white, 255) + 1)
    header = f'P5 {SHAPE[1]} {SHAPE[0]} {white} '.encode()
    kind = np.uint8 if white < 256 else '>u2'
    return header + pixels.astype(kind).tobytes()


def repeated(*shape, alpha=None):
    """Return pixels with three equal channels, and maybe one of alpha."""
    channels = [values(*shape)] * 3
    if alpha is not None:
        channels.append(np.full(shape, alpha, np.uint8))
    return np.stack(channels, 2)


def layered(alpha):
    layers = (
        Image.fromarray(values(*SHAPE)),
        Image.new('L', SHAPE[::-1], alpha),
    )
    return Image.merge('LA', layers)


#: Files of which upstream reads the class indices.
BOTH, PILLOW = ('pillow', 'cv2'), ('pillow',)
SAME = {
    'gray': (BOTH, saved(values(*SHAPE))),
    'gray by OpenCV': (BOTH, cv2.imencode('.png', values(*SHAPE))[1]),
    'one row': (BOTH, saved(values(1, 51))),
    'one column': (BOTH, saved(values(37, 1))),
    '16 bit': (BOTH, saved(values(*SHAPE).astype(np.uint16))),
    'TIFF': (BOTH, saved(values(*SHAPE), 'TIFF')),
    '16-bit TIFF': (BOTH, saved(values(*SHAPE).astype(np.uint16), 'TIFF')),
    '32-bit TIFF': (BOTH, saved(values(*SHAPE).astype(np.int32), 'TIFF')),
    'BMP': (BOTH, saved(values(*SHAPE), 'BMP')),
    'PGM': (BOTH, pgm(255)),
    'palette': (PILLOW, saved(palette())),
    '4-bit palette': (PILLOW, saved(palette(16), bits=4)),
    '2-bit palette': (PILLOW, saved(palette(4), bits=2)),
    '1-bit palette': (PILLOW, saved(palette(2), bits=1)),
    'transparent palette': (PILLOW, saved(palette(), transparency=3)),
    '1 bit': (PILLOW, saved(values(*SHAPE) > 99)),
    '1-bit TIFF': (PILLOW, saved(values(*SHAPE) > 99, 'TIFF')),
}

#: PNG files of which it reads something else, and what it does to the first.
OTHER = {
    '2 bits': (BOTH, gray_png(values(*SHAPE, high=4), 2), 'reads 255 where 3'),
    '4 bits': (
        BOTH,
        gray_png(values(*SHAPE, high=16), 4),
        'reads 221 where 13',
    ),
    '1 bit': (('cv2',), saved(values(*SHAPE) > 99), 'reads 255 where 1'),
    'palette': (('cv2',), saved(palette()), '(37, 51, 3)'),
    '4-bit palette': (('cv2',), saved(palette(16), bits=4), '(37, 51, 3)'),
    'equal channels': (BOTH, saved(repeated(*SHAPE)), '(37, 51, 3)'),
    'opaque RGBA': (BOTH, saved(repeated(*SHAPE, alpha=255)), '(37, 51, 4)'),
    'opaque LA': (PILLOW, saved(layered(255)), '(37, 51, 2)'),
}

#: Files that are refused, and why.
REFUSED = {
    '16 bit': (
        saved(values(*SHAPE).astype(np.uint16) * 99),
        r'\(16-bit gray PNG\) has 1864 pixels above 255, such as 297, 396, '
        r'495; expected class indices, 0 to 254, or 255 for pixels to ignore',
    ),
    '16-bit TIFF': (
        saved(np.full(SHAPE, 256, np.uint16), 'TIFF'),
        r'has 1887 pixels above 255, such as 256; ',
    ),
    # Whose 1 is black.
    'PBM': (saved(values(*SHAPE) > 99, 'PPM'), 'white as 0'),
    'float': (saved(values(*SHAPE).astype(np.float32), 'TIFF'), 'of floats'),
    'color': (saved(values(*SHAPE, 3)), r'\(RGB PNG\) is in color'),
    'color and alpha': (saved(values(*SHAPE, 4)), '[0-9] transparent pixels'),
    'gray and alpha': (saved(layered(0)), '1887 transparent pixels'),
    'transparent value': (
        saved(values(*SHAPE), transparency=7),
        '[0-9] transparent pixels',
    ),
    'gray JPEG': (saved(values(*SHAPE), 'JPEG'), 'changes pixels'),
    'color JPEG': (saved(values(*SHAPE, 3), 'JPEG'), 'changes pixels'),
    'lossy WebP': (saved(repeated(*SHAPE), 'WEBP'), 'changes pixels'),
    'CMYK': (saved(Image.new('CMYK', SHAPE[::-1]), 'TIFF'), 'color space'),
    'pages': (
        saved(
            values(*SHAPE),
            'TIFF',
            save_all=True,
            append_images=[Image.fromarray(values(*SHAPE))],
        ),
        'has 2 pages',
    ),
    'text': (b'no image', r'cannot be read as an image \(8 bytes\)'),
}


def cases(forms):
    """Return a case for each form and each of its backends."""
    return [
        pytest.param(bytes(data), backend, *more, id=f'{name}, {backend}')
        for name, (backends, data, *more) in forms.items()
        for backend in backends
    ]


OPTIONS = [
    pytest.param({}, id='plain'),
    pytest.param({'reduce_zero_label': True}, id='reduce zero'),
    # 3 is swapped with 4, 300 is no 8-bit value.
    pytest.param(
        {'label_map': {0: 255, 3: 4, 4: 3, 300: 5, 255: 7}}, id='label map'
    ),
    pytest.param(
        {
            'label_map': {0: 255, 1: 0, 254: 9, 255: 254},
            'reduce_zero_label': True,
        },
        id='both',
    ),
]


@pytest.mark.parametrize('options', OPTIONS)
@pytest.mark.parametrize(('data', 'backend'), cases(SAME))
def test_same_as_upstream(data, backend, options, tmp_path, mmlog):
    (tmp_path / 'x').write_bytes(data)
    ours, theirs = (
        transform(imdecode_backend=backend)(
            results_of(tmp_path / 'x', **options)
        )
        for transform in (FastLoadAnnotations, LoadAnnotations)
    )
    assert ours.keys() == theirs.keys()
    label, expected = ours.pop('gt_seg_map'), theirs.pop('gt_seg_map')
    assert label.dtype == expected.dtype
    np.testing.assert_array_equal(label, expected)
    assert ours == theirs
    assert mmlog.text == ''


@pytest.mark.parametrize(('data', 'backend', 'difference'), cases(OTHER))
def test_stored_values_where_upstream_reads_others(
    data, backend, difference, tmp_path, mmlog
):
    (tmp_path / 'x.png').write_bytes(data)
    transform = FastLoadAnnotations(imdecode_backend=backend)
    with mmlog.at_level(logging.WARNING):
        label = transform(results_of(tmp_path / 'x.png'))['gt_seg_map']
        transform(results_of(tmp_path / 'x.png'))
    expected = reference.png(data)[0]
    if expected.ndim == 3:
        expected = expected[..., 0]
    assert label.dtype == np.uint8
    np.testing.assert_array_equal(label, expected)
    (line,) = mmlog.messages
    assert str(tmp_path / 'x.png') in line
    assert f"MMSeg's LoadAnnotations {difference}" in line.replace(
        'makes of it an array of shape ', ''
    )
    theirs = LoadAnnotations(imdecode_backend=backend)(
        results_of(tmp_path / 'x.png')
    )['gt_seg_map']
    assert theirs.shape != label.shape or (theirs != label).any()


@pytest.mark.parametrize('white', [1, 3, 200, 1000])
def test_pgm_of_another_white(white, tmp_path, mmlog):
    """Pillow scales it to 255."""
    (tmp_path / 'x.pgm').write_bytes(pgm(white))
    with mmlog.at_level(logging.WARNING):
        results = FastLoadAnnotations()(results_of(tmp_path / 'x.pgm'))
    expected = values(*SHAPE, high=min(white, 255) + 1)
    np.testing.assert_array_equal(results['gt_seg_map'], expected)
    assert len(mmlog.messages) == 1


def test_lossless_formats_of_equal_channels(tmp_path):
    for format, options in (('BMP', {}), ('WEBP', {'lossless': True})):
        data = saved(repeated(*SHAPE), format, **options)
        (tmp_path / format).write_bytes(data)
        results = FastLoadAnnotations()(results_of(tmp_path / format))
        np.testing.assert_array_equal(results['gt_seg_map'], values(*SHAPE))


@pytest.mark.parametrize('backend', BOTH)
@pytest.mark.parametrize(
    ('data', 'message'), list(REFUSED.values()), ids=list(REFUSED)
)
def test_what_holds_no_class_indices(data, message, backend, tmp_path):
    (tmp_path / 'x').write_bytes(data)
    with pytest.raises(ValueError, match=rf'{tmp_path}/x .*{message}'):
        FastLoadAnnotations(imdecode_backend=backend)(
            results_of(tmp_path / 'x')
        )


def test_each_form_is_told_once(tmp_path, mmlog):
    files = {
        'black.png': gray_png(np.zeros(SHAPE, np.uint8), 2),
        'a.png': gray_png(values(*SHAPE, high=4), 2),
        'b.png': gray_png(values(*SHAPE, high=4), 2),
        'c.png': saved(repeated(*SHAPE)),
    }
    transform = FastLoadAnnotations()
    for name, data in files.items():
        (tmp_path / name).write_bytes(data)
        transform(results_of(tmp_path / name))
    lines = [line.split(' (')[0] for line in mmlog.messages]
    assert lines == [f'{tmp_path}/a.png', f'{tmp_path}/c.png']


# Black and white.


def white_on_black(*others):
    """Return pixels of 0, 255 and others."""
    pixels = np.zeros(SHAPE, np.uint8)
    pixels[3:9] = 255
    pixels[0, : len(others)] = others
    return pixels


WHITE = 'holds 0 and 255 alone'


def load_all(transform, folder, *masks, **options):
    """Load label maps or files."""
    for index, mask in enumerate(masks):
        data = mask if isinstance(mask, bytes) else saved(mask)
        (folder / f'{index}.png').write_bytes(data)
        transform(results_of(folder / f'{index}.png', **options))


@pytest.mark.parametrize(
    'first',
    [
        pytest.param(white_on_black(), id='gray'),
        pytest.param(np.stack([white_on_black()] * 3, 2), id='RGB'),
        pytest.param(white_on_black().astype(np.uint16), id='16 bits'),
    ],
)
@pytest.mark.parametrize('reduce_zero_label', [False, True])
def test_black_and_white_is_warned_of_once(
    first, reduce_zero_label, tmp_path, mmlog
):
    load_all(
        FastLoadAnnotations(),
        tmp_path,
        first,
        white_on_black(),
        white_on_black(1),
        white_on_black(),
        reduce_zero_label=reduce_zero_label,
    )
    (line,) = (line for line in mmlog.messages if WHITE in line)
    assert line.startswith(f'{tmp_path}/0.png')
    assert '1 in place of 255' in line
    assert 'ColorMaskDataset and a class_dict.csv' in line


def test_black_and_white_is_warned_of_after_masks_of_one_value(
    tmp_path, mmlog
):
    black, white = (np.full(SHAPE, value, np.uint8) for value in (0, 255))
    load_all(FastLoadAnnotations(), tmp_path, black, white, white_on_black())
    assert mmlog.text.count(f'{tmp_path}/2.png {WHITE}') == 1


def test_no_warning_once_a_mask_has_another_value(tmp_path, mmlog):
    masks = white_on_black(1), white_on_black(), white_on_black()
    load_all(FastLoadAnnotations(), tmp_path, *masks)
    assert mmlog.text == ''


def test_no_warning_if_white_is_a_class(tmp_path, mmlog):
    label_map = {0: 0, 255: 1}
    transform = FastLoadAnnotations()
    load_all(transform, tmp_path, white_on_black(), label_map=label_map)
    load_all(transform, tmp_path, saved(white_on_black() > 0))
    assert mmlog.text == ''


def test_all_workers_warn_once(tmp_path):
    for folder in ('images', 'labels'):
        (tmp_path / folder).mkdir()
    for index in range(24):
        mask = white_on_black(), np.stack([white_on_black()] * 3, 2)
        Image.fromarray(mask[index % 2]).save(tmp_path / f'labels/{index}.png')
        (tmp_path / f'images/{index}.png').touch()
    dataset = BaseSegDataset(
        data_root=str(tmp_path),
        data_prefix={'img_path': 'images', 'seg_map_path': 'labels'},
        img_suffix='.png',
        metainfo={'classes': ('a', 'b')},
        pipeline=[FastLoadAnnotations()],
    )
    log = tmp_path / 'log.txt'
    loader = DataLoader(
        dataset,
        num_workers=2,
        multiprocessing_context='fork',
        worker_init_fn=partial(log_to, log),
        collate_fn=take_first,
    )
    for _ in range(2):
        assert len(list(loader)) == 24
    lines = log.read_text().splitlines()
    assert len(lines) == 2
    assert sum(WHITE in line for line in lines) == 1
    assert sum('(RGB PNG)' in line for line in lines) == 1


def test_copies_warn_together(tmp_path, mmlog):
    transform = FastLoadAnnotations()
    load_all(transform, tmp_path, white_on_black())
    load_all(copy.deepcopy(transform), tmp_path, white_on_black())
    again = pickle.loads(pickle.dumps(transform))
    load_all(again, tmp_path, white_on_black())
    assert mmlog.text.count(WHITE) == 1


# Other backends of mmcv.


@pytest.fixture
def decoded(monkeypatch):
    """Let mmcv decode files to an array."""

    def decode_to(array):
        monkeypatch.setattr(mmcv, 'imfrombytes', lambda *a, **o: array)

    return decode_to


@pytest.mark.parametrize('kind', [bool, np.uint8, np.int64, np.uint16])
def test_tiff_by_tifffile(kind, tmp_path, decoded):
    (tmp_path / 'x.tif').touch()
    decoded(values(*SHAPE).astype(kind))
    label = FastLoadAnnotations(imdecode_backend='tifffile')(
        results_of(tmp_path / 'x.tif')
    )['gt_seg_map']
    assert label.dtype == np.uint8
    np.testing.assert_array_equal(label, values(*SHAPE).astype(kind))


@pytest.mark.parametrize(
    ('array', 'message'),
    [
        (np.full(SHAPE, 256), r'int64 of shape \(37, 51\), 256 to 256'),
        (np.full(SHAPE, -1, np.int8), '-1 to -1'),
        (np.zeros(SHAPE, np.float32), 'float32'),
        (np.zeros((2, *SHAPE), np.uint8), r'shape \(2, 37, 51\)'),
    ],
)
def test_tiff_of_no_class_indices_by_tifffile(
    array, message, tmp_path, decoded
):
    (tmp_path / 'x.tif').touch()
    decoded(array)
    with pytest.raises(ValueError, match=rf'x\.tif, read by imd.*{message}'):
        FastLoadAnnotations(imdecode_backend='tifffile')(
            results_of(tmp_path / 'x.tif')
        )


# All the rest.


@pytest.mark.parametrize(('data', 'backend'), cases(SAME))
def test_label_can_be_written(data, backend, tmp_path):
    (tmp_path / 'x').write_bytes(data)
    results = FastLoadAnnotations(imdecode_backend=backend)(
        results_of(tmp_path / 'x')
    )
    results['gt_seg_map'][:3] = 3  # as some transforms do
    assert (results['gt_seg_map'][:3] == 3).all()


def test_built_by_name_with_upstreams_arguments():
    transform = TRANSFORMS.build(
        {
            'type': 'FastLoadAnnotations',
            'imdecode_backend': 'cv2',
            'backend_args': {'backend': 'local'},
        }
    )
    assert transform.imdecode_backend == 'cv2'
    assert transform.backend_args == {'backend': 'local'}


def test_image_without_label_passes():
    results = {'img_path': 'x.jpg', 'seg_fields': []}
    assert FastLoadAnnotations()(dict(results)) == results


def test_missing_label(tmp_path):
    with pytest.raises(FileNotFoundError, match=r'y\.png of image x\.jpg'):
        FastLoadAnnotations()(results_of(tmp_path / 'y.png'))


def test_size_of_the_image(tmp_path):
    path = tmp_path / 'x.png'
    Image.fromarray(values(2, 6)).save(path)
    FastLoadAnnotations()(results_of(path, ori_shape=(2, 6)))
    with pytest.raises(
        ValueError, match=r'x\.png is 6x2 pixels, its image x\.jpg 6x4'
    ):
        FastLoadAnnotations()(results_of(path, ori_shape=(4, 6)))


@pytest.mark.parametrize('backend', ['pillow', 'cv2'])
@pytest.mark.parametrize('image', [values(*SHAPE), palette()])
def test_broken_file(image, backend, tmp_path):
    data = saved(image)
    for size in (0, 5, 20, 30, len(data) // 2, len(data) - 30):
        (tmp_path / 'x.png').write_bytes(data[:size])
        with pytest.raises(ValueError, match=r'x\.png cannot be read as an'):
            FastLoadAnnotations(imdecode_backend=backend)(
                results_of(tmp_path / 'x.png')
            )


def test_unknown_backend(tmp_path):
    Image.fromarray(values(*SHAPE)).save(tmp_path / 'x.png')
    with pytest.raises(
        ValueError, match=r"x\.png .*'gif': .*gif is not supported.*'pillow'"
    ):
        FastLoadAnnotations(imdecode_backend='gif')(
            results_of(tmp_path / 'x.png')
        )


def test_data_set_and_transform_differ(tmp_path):
    Image.fromarray(values(*SHAPE)).save(tmp_path / 'x.png')
    with pytest.warns(UserWarning, match='reduce_zero_label'):
        transform = FastLoadAnnotations(reduce_zero_label=True)
    with pytest.raises(ValueError, match='False in the data set and True in'):
        transform(results_of(tmp_path / 'x.png'))
