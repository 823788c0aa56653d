import io

import numpy as np
import pytest
from mmseg.datasets.transforms import LoadAnnotations
from mmseg.registry import TRANSFORMS
from PIL import Image

from mmseg_ext.datasets.transforms.fast_load_annotations import (
    FastLoadAnnotations,
)

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


def palette():
    image = Image.fromarray(values(*SHAPE, high=20), 'P')
    image.putpalette(values(256, 3).tobytes())
    return image


IMAGES = {
    'gray': lambda: Image.fromarray(values(*SHAPE)),
    'palette': palette,
    '1 bit': lambda: Image.fromarray(values(*SHAPE) > 99),
    '16 bit': lambda: Image.fromarray(values(*SHAPE).astype(np.uint16) * 99),
    'gray and alpha': lambda: Image.fromarray(values(*SHAPE, 2), 'LA'),
    'color': lambda: Image.fromarray(values(*SHAPE, 3)),
    'color and alpha': lambda: Image.fromarray(values(*SHAPE, 4)),
    'one row': lambda: Image.fromarray(values(1, 51)),
}
#: Name of the file, what is in it, and options of saving.
FILES = [
    *(pytest.param('x.png', make, {}, id=n) for n, make in IMAGES.items()),
    pytest.param('x.png', palette, {'bits': 4}, id='4-bit palette'),
    pytest.param(
        'x.png', IMAGES['gray'], {'transparency': 7}, id='transparent value'
    ),
    pytest.param('x.jpg', IMAGES['gray'], {}, id='gray JPEG'),
    pytest.param('x.jpg', IMAGES['color'], {}, id='color JPEG'),
    pytest.param('x.tif', IMAGES['16 bit'], {}, id='16-bit TIFF'),
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


@pytest.mark.parametrize('backend', ['pillow', 'cv2'])
@pytest.mark.parametrize('options', OPTIONS)
@pytest.mark.parametrize(('name', 'make', 'save'), FILES)
def test_same_as_upstream(name, make, save, options, backend, tmp_path):
    make().save(tmp_path / name, **save)
    ours, theirs = (
        transform(imdecode_backend=backend)(
            results_of(tmp_path / name, **options)
        )
        for transform in (FastLoadAnnotations, LoadAnnotations)
    )
    assert ours.keys() == theirs.keys()
    label, expected = ours.pop('gt_seg_map'), theirs.pop('gt_seg_map')
    assert label.dtype == expected.dtype
    np.testing.assert_array_equal(label, expected)
    assert ours == theirs


def test_label_can_be_written(tmp_path):
    Image.fromarray(values(*SHAPE)).save(tmp_path / 'x.png')
    results = FastLoadAnnotations()(results_of(tmp_path / 'x.png'))
    results['gt_seg_map'][0] = 3  # as some transforms do
    assert (results['gt_seg_map'][0] == 3).all()


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
@pytest.mark.parametrize('make', [IMAGES['gray'], palette])
def test_broken_file(make, backend, tmp_path):
    file = io.BytesIO()
    make().save(file, 'PNG')
    data = file.getvalue()
    for size in (0, 5, 20, 30, len(data) // 2, len(data) - 30):
        (tmp_path / 'x.png').write_bytes(data[:size])
        with pytest.raises(ValueError, match=r'x\.png cannot be read as an'):
            FastLoadAnnotations(imdecode_backend=backend)(
                results_of(tmp_path / 'x.png')
            )


def test_unknown_backend(tmp_path):
    Image.fromarray(values(*SHAPE)).save(tmp_path / 'x.png')
    with pytest.raises(ValueError, match='gif is not supported'):
        FastLoadAnnotations(imdecode_backend='gif')(
            results_of(tmp_path / 'x.png')
        )


def test_data_set_and_transform_differ(tmp_path):
    Image.fromarray(values(*SHAPE)).save(tmp_path / 'x.png')
    with pytest.warns(UserWarning, match='reduce_zero_label'):
        transform = FastLoadAnnotations(reduce_zero_label=True)
    with pytest.raises(ValueError, match='False in the data set and True in'):
        transform(results_of(tmp_path / 'x.png'))
