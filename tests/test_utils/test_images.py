import cv2
import numpy as np
import pytest

from mmseg_ext.utils.images import decode_image, write_png


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
