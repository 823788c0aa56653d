import io

import cv2
import numpy as np
import pytest
from PIL import Image

from mmseg_ext.utils.images import decode_image, encode_labels, write_png


def read(path, *flags):
    return decode_image(path.read_bytes(), str(path), *flags)


def test_round_trip(tmp_path):
    image = np.arange(60, dtype=np.uint8).reshape(4, 5, 3)
    write_png(tmp_path / 'new' / 'a.png', image)
    assert (read(tmp_path / 'new' / 'a.png') == image).all()
    write_png(tmp_path / 'b.png', image[..., 0].copy())
    assert (
        read(tmp_path / 'b.png', cv2.IMREAD_UNCHANGED) == image[..., 0]
    ).all()


@pytest.mark.parametrize('share', [0, 0.5, 0.99])
def test_truncated_file_is_named(tmp_path, share):
    path = tmp_path / 'a.png'
    noise = np.random.default_rng(0).integers(0, 256, (40, 50, 3), np.uint8)
    write_png(path, noise)
    data = path.read_bytes()
    path.write_bytes(data[: int(share * len(data))])
    with pytest.raises(ValueError, match=r'a\.png cannot be read'):
        read(path)


def test_what_is_no_image(tmp_path):
    with pytest.raises(ValueError, match='an array of float64 and shape'):
        write_png(tmp_path / 'a.png', np.zeros((2, 3, 7)))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize('shape', [(1, 1), (1, 300), (37, 53), (900, 1600)])
def test_labels_come_back(shape):
    labels = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    data = encode_labels(labels)
    picture = Image.open(io.BytesIO(data))
    picture.load()  # checks the sums of the chunks
    assert picture.mode == 'L'
    assert (np.asarray(picture) == labels).all()
    assert (decode_image(data, 'x', cv2.IMREAD_UNCHANGED) == labels).all()


@pytest.mark.parametrize(
    'array',
    [
        pytest.param(np.zeros((2, 2), np.int64), id='int64'),
        pytest.param(np.zeros((2, 2, 3), np.uint8), id='colors'),
        pytest.param(np.zeros((0, 2), np.uint8), id='empty'),
    ],
)
def test_what_is_no_label_map(array):
    with pytest.raises(ValueError, match='is no label map'):
        encode_labels(array)
