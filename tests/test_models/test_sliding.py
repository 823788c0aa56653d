import re
from types import SimpleNamespace

import pytest
import torch
from mmseg.models.segmentors import EncoderDecoder

from helpers.lean import PeakMemory
from mmseg_ext.models.sliding import Window, check_windows, slide_strips

#: Size of the image, of a window, and the stride.
CASES = {
    'overlapping': ((32, 40), (16, 24), (10, 13)),
    'not overlapping': ((32, 48), (16, 24), (16, 24)),
    'image of one window': ((16, 24), (16, 24), (10, 13)),
    'window larger than the image': ((13, 17), (16, 24), (10, 13)),
    'window higher than the image': ((13, 50), (16, 24), (10, 13)),
    'window wider than the image': ((50, 17), (16, 24), (10, 13)),
    'a pixel more than a window': ((17, 25), (16, 24), (16, 24)),
    'a pixel less than two windows': ((31, 47), (16, 24), (16, 24)),
    'last window much nearer': ((33, 41), (16, 16), (15, 15)),
    'odd': ((37, 41), (7, 11), (5, 3)),
    'stride of a pixel': ((9, 8), (4, 5), (1, 1)),
    'windows of a pixel': ((4, 5), (1, 1), (1, 1)),
    'stride in one direction': ((20, 30), (8, 30), (3, 30)),
}


def make_stub(size, crop_size, stride, images=1, classes=3, seed=0):
    """Return inputs, and logits that differ in each window for a pixel.

    They are those of a pixel in the image, times those of its place in the
    window.
    """
    generator = torch.Generator().manual_seed(seed)
    inputs = torch.randn(images, 3, *size, generator=generator)
    mixing = torch.randn(classes, 3, generator=generator)
    places = torch.randn(classes, *crop_size, generator=generator)

    def encode_decode(crops, metas=None):
        height, width = crops.shape[2:]
        pixels = torch.einsum('kc,nchw->nkhw', mixing, crops)
        return pixels * places[:, :height, :width]

    stub = SimpleNamespace(
        test_cfg=SimpleNamespace(crop_size=crop_size, stride=stride),
        out_channels=classes,
        encode_decode=encode_decode,
    )
    return inputs, stub


def upstream(inputs, stub):
    return EncoderDecoder.slide_inference(stub, inputs, [{} for _ in inputs])


def strips_of(inputs, stub, window_batch=1, asked=None):
    def decode(windows):
        if asked is not None:
            asked.append(list(windows))
        return torch.cat(
            [
                stub.encode_decode(inputs[:, :, top:bottom, left:right])
                for top, bottom, left, right in windows
            ]
        )

    windows = stub.test_cfg.crop_size, stub.test_cfg.stride
    return slide_strips(decode, inputs.shape[2:], *windows, window_batch)


@pytest.mark.parametrize('images', [1, 3])
@pytest.mark.parametrize('window_batch', [1, 2, 100])
@pytest.mark.parametrize('case', CASES.values(), ids=CASES)
def test_logits_are_those_of_upstream_bit_for_bit(case, window_batch, images):
    inputs, stub = make_stub(*case, images)
    expected = upstream(inputs, stub)
    row = 0
    for top, strip in strips_of(inputs, stub, window_batch):
        assert top == row
        row += strip.shape[2]
        assert torch.equal(strip, expected[:, :, top:row])
        # No more than a row of windows is held.
        assert 0 < strip.shape[2] <= case[1][0]
    assert row == case[0][0]


@pytest.mark.parametrize('window_batch', [1, 2, 100])
def test_windows_go_together_within_a_row(window_batch):
    """An image of 32x40 has two and a half windows in each direction."""
    inputs, stub = make_stub((32, 40), (16, 16), (12, 12))
    asked = []
    list(strips_of(inputs, stub, window_batch, asked))
    # Three rows of three windows; the last ones end where the image does.
    starts = {0: [0, 12, 16], 1: [0, 12, 24]}
    expected = [
        Window(top, top + 16, left, left + 16)
        for top in starts[0]
        for left in starts[1]
    ]
    assert [window for batch in asked for window in batch] == expected
    size = min(window_batch, 3)
    rest = [3 % size] if 3 % size else []
    assert [len(b) for b in asked] == ([size] * (3 // size) + rest) * 3


def test_logits_of_half_precision_add_up_in_the_type_of_the_images():
    """So it is in mixed precision."""
    inputs, stub = make_stub((20, 20), (8, 8), (3, 3))
    full = stub.encode_decode
    stub.encode_decode = lambda *args: full(*args).bfloat16()
    expected = upstream(inputs, stub)
    assert expected.dtype == torch.float32
    found = torch.cat([s.clone() for _, s in strips_of(inputs, stub)], 2)
    assert found.dtype == torch.float32
    assert torch.equal(found, expected)


def test_nan_and_infinity_stay_where_they_are():
    inputs, stub = make_stub((20, 20), (8, 8), (3, 3))
    inputs[0, :, 4, 5], inputs[0, :, 9, 9] = float('nan'), float('inf')
    expected = upstream(inputs, stub)
    found = torch.cat([s.clone() for _, s in strips_of(inputs, stub)], 2)
    torch.testing.assert_close(found, expected, rtol=0, atol=0, equal_nan=True)
    assert found.isnan().any()


def test_memory_is_that_of_a_strip():
    """As much for an image four times as high."""
    peaks = []
    for height in (64, 256):
        inputs, stub = make_stub((height, 64), (16, 16), (8, 8), classes=5)
        with PeakMemory(inputs) as memory:
            rows = sum(s.shape[2] for _, s in strips_of(inputs, stub))
        assert rows == height
        peaks.append(memory.peak)
    # But for 8 bytes a row, which count the windows.
    assert peaks[1] - peaks[0] < 16 * (256 - 64)
    strip = 5 * 16 * 64 * torch.float32.itemsize
    assert peaks[0] < 4 * strip


def test_gradients_are_those_of_upstream():
    case = CASES['overlapping']
    inputs, stub = make_stub(*case)
    weight = torch.randn(case[0])
    gradients = []
    for find in (
        lambda x: upstream(x, stub),
        lambda x: torch.cat([s.clone() for _, s in strips_of(x, stub)], 2),
    ):
        images = inputs.clone().requires_grad_()
        (find(images) * weight).sum().backward()
        gradients.append(images.grad)
    torch.testing.assert_close(*gradients)


WRONG = {
    'no crop': (None, (8, 8), 'crop_size=None: expected height and width'),
    'one number': (16, (8, 8), 'crop_size=16: expected height and width'),
    'one number in a list': ([16], (8, 8), 'crop_size=[16]: expected height'),
    'three numbers': ((16, 16, 3), (8, 8), 'crop_size=(16, 16, 3): expected'),
    'zero': ((0, 16), (8, 8), 'crop_size=(0, 16): expected height and width'),
    'negative': ((16, 16), (8, -8), 'stride=(8, -8): expected height and'),
    'float': ((16.0, 16), (8, 8), 'crop_size=(16.0, 16): expected height and'),
    'bool': ((16, 16), (True, 8), 'stride=(True, 8): expected height and'),
    'text': ('16', (8, 8), "crop_size='16': expected height and width such"),
    'no stride': (
        (16, 16),
        None,
        'stride=None: expected height and width such',
    ),
    'too far down': (
        (16, 24),
        (17, 24),
        'stride=(17, 24) is larger than crop_size=(16, 24): no window would '
        'reach the pixels between them; expected at most (16, 24)',
    ),
    'too far right': ((16, 24), (16, 25), 'stride=(16, 25) is larger than'),
}


@pytest.mark.parametrize(('crop', 'stride', 'said'), WRONG.values(), ids=WRONG)
def test_windows_that_do_not_fit(crop, stride, said):
    with pytest.raises(ValueError, match=f'^{re.escape(said)}'):
        check_windows(crop, stride)
    # Before a window is asked for.
    with pytest.raises(ValueError, match=re.escape(said)):
        next(slide_strips(pytest.fail, (32, 32), crop, stride))


@pytest.mark.parametrize('pair', [(16, 8), [16, 8]])
def test_lists_are_taken(pair):
    check_windows(pair, pair)
