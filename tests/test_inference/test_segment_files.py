import io
import os
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmseg.models.data_preprocessor import SegDataPreProcessor
from PIL import Image

from helpers.segmentors import (
    META,
    PALETTE,
    labels_of_upstream,
    write_segmentor,
)
from helpers.tiff import tiled_tiff
from mmseg_ext.inference.segment_files import segment_files
from mmseg_ext.inference.segmentors import Segmentor, load_segmentor
from mmseg_ext.models.lean_inference import LeanInference
from mmseg_ext.visualization.panel import draw_panel, read_style

LOAD = {'type': 'LoadImageFromFile'}
PACK = {'type': 'PackSegInputs'}
SMALLER = {'type': 'Resize', 'scale': (50, 70), 'keep_ratio': True}
PIPELINE = 'test_dataloader__dataset__pipeline'
SLIDE = {
    'model__test_cfg': {
        **{'mode': 'slide', 'crop_size': (40, 32), 'stride': (27, 30)}
    }
}


def run(config, weights, images, out, **options):
    options = {'device': 'cpu', 'progress': False, **options}
    return segment_files(str(config), str(weights), images, out, **options)


def photograph(seed=0, size=(75, 110)):
    """Make a soft image, BGR."""
    rng = np.random.default_rng(seed)
    noise = rng.integers(0, 256, (*size, 3), np.uint8)
    return cv2.normalize(
        cv2.GaussianBlur(noise, (0, 0), 4), None, 0, 255, cv2.NORM_MINMAX
    )


def read(path):
    return cv2.imread(str(path), cv2.IMREAD_UNCHANGED)


@pytest.fixture(scope='module')
def tiny(tmp_path_factory):
    """Config and checkpoint of whole mode, without resizing."""
    return write_segmentor(tmp_path_factory.mktemp('tiny'))


@pytest.fixture
def image(tmp_path):
    path = tmp_path / 'images/a.png'
    path.parent.mkdir()
    cv2.imwrite(str(path), photograph())
    return path


@pytest.mark.parametrize(
    ('changes', 'options'),
    [
        ({PIPELINE: [LOAD, SMALLER, {'type': 'LoadAnnotations'}, PACK]}, {}),
        ({PIPELINE: [{**LOAD, 'to_float32': True}, PACK], **SLIDE}, {}),
        (
            {
                PIPELINE: [LOAD, SMALLER, PACK],
                'model__data_preprocessor__test_cfg': {'size_divisor': 32},
                **SLIDE,
            },
            {},
        ),
        # Padding takes part in windows, and some are nothing else.
        (
            {
                'model__data_preprocessor__test_cfg': {'size': (130, 130)},
                'model__data_preprocessor__pad_val': 3,
                **SLIDE,
            },
            {},
        ),
        (SLIDE, {'stride': [33, 32]}),
        ({PIPELINE: [LOAD, SMALLER, PACK]}, {'crop_size': (40, 48)}),
        (
            {
                'model__decode_head__num_classes': 2,
                'model__decode_head__out_channels': 1,
                'model__decode_head__threshold': 0.4,
                'model__decode_head__loss_decode__use_sigmoid': True,
            },
            {'crop_size': 48},
        ),
    ],
)
def test_labels_are_those_of_upstream(tmp_path, image, changes, options):
    config, weights = write_segmentor(tmp_path / 'tiny', **changes)
    report = run(
        config, weights, [image], tmp_path / 'out', pictures=False, **options
    )
    assert report.unreadable == {}
    upstream = Config.fromfile(config)
    upstream.model.type = 'EncoderDecoder'
    if 'crop_size' in options:
        upstream.model.test_cfg = slide_of(**options)
        upstream.test_dataloader.dataset.pipeline = [LOAD, PACK]
        upstream = Config(upstream.to_dict())
    elif 'stride' in options:
        upstream.model.test_cfg.stride = options['stride']
    expected = labels_of_upstream(upstream, weights, image)
    labels = read(tmp_path / 'out/labels/a.png')
    assert len(np.unique(expected)) > 1
    assert labels.dtype == np.uint8
    np.testing.assert_array_equal(labels, expected)


def slide_of(crop_size, stride=None):
    crop = [crop_size] * 2 if isinstance(crop_size, int) else crop_size
    stride = [stride] * 2 if isinstance(stride, int) else stride
    stride = stride or [side * 2 // 3 for side in crop]
    return {'mode': 'slide', 'crop_size': crop, 'stride': stride}


def test_windows_are_normalized_one_by_one(tmp_path, tiny, monkeypatch):
    """A large image is never there in floating point, nor are all logits."""
    sizes, logits = [], []
    forward = SegDataPreProcessor.forward
    decode = LeanInference.decode_windows

    def count(self, data, training=False):
        sizes.append(data['inputs'][0].shape)
        return forward(self, data, training)

    def watch(self, windows, metas):
        logits.append(windows.shape)
        return decode(self, windows, metas)

    monkeypatch.setattr(SegDataPreProcessor, 'forward', count)
    monkeypatch.setattr(LeanInference, 'decode_windows', watch)
    path = tmp_path / 'long.png'
    cv2.imwrite(str(path), photograph(size=(100, 500)))
    run(*tiny, [path], tmp_path / 'out', crop_size=64, window_batch=3)
    # Tops 0 and 36; lefts 0, 42, ..., 420, 436.
    assert sizes == [(3, 64, 64)] * 24
    assert logits == [(3, 3, 64, 64)] * 8
    assert read(tmp_path / 'out/labels/long.png').shape == (100, 500)


def test_windows_are_counted(tiny, image):
    segmentor = load_segmentor(*map(str, tiny), 'cpu', crop_size=40, stride=40)
    seen = []
    segmentor.segment(
        segmentor.read(str(image)), lambda *counts: seen.append(counts)
    )
    assert seen == [(done, 6) for done in range(1, 7)]


@pytest.mark.parametrize(
    ('compression', 'big'),
    [
        *(('raw', False), ('tiff_lzw', True)),
        *(('tiff_adobe_deflate', False), ('jpeg', True)),
    ],
)
def test_tiled_tiff(tmp_path, tiny, compression, big):
    segmentor = load_segmentor(*map(str, tiny), 'cpu')
    image = photograph(size=(100, 150))
    path = tmp_path / 'tiled.tif'
    path.write_bytes(tiled_tiff(image[..., ::-1], compression, big))
    found = segmentor.read(str(path))['img']
    assert found.shape == image.shape
    lost = 25 if compression == 'jpeg' else 0
    assert np.abs(found.astype(int) - image).max() <= lost


def test_exif_turns_images_as_the_loader_does(tmp_path, tiny):
    """And where the config says otherwise, it does not."""
    pixels = photograph()
    exif = Image.Exif()
    exif[0x0112] = 6  # a quarter turn
    image = Image.fromarray(pixels[..., ::-1])
    image.save(tmp_path / 'turned.jpg', quality=100, exif=exif)
    out = tmp_path / 'out'
    run(*tiny, [tmp_path / 'turned.jpg'], out)
    assert read(out / 'labels/turned.png').shape == (110, 75)
    config, weights = write_segmentor(
        tmp_path / 'stored',
        **{PIPELINE: [{**LOAD, 'color_type': 'color_ignore_orientation'}]},
    )
    with pytest.raises(ValueError, match='no transform that reads'):
        run(config, weights, [tmp_path / 'turned.jpg'], tmp_path / 'new')
    config, weights = write_segmentor(
        tmp_path / 'stored',
        **{
            PIPELINE: [
                {**LOAD, 'color_type': 'color_ignore_orientation'},
                PACK,
            ]
        },
    )
    run(config, weights, [tmp_path / 'turned.jpg'], tmp_path / 'as_stored')
    stored = read(tmp_path / 'as_stored/labels/turned.png')
    assert stored.shape == (75, 110)


def encoded(image, suffix):
    return cv2.imencode(suffix, image)[1].tobytes()


def test_images_that_are_cut_off(tmp_path, tiny):
    """Each is named, and the others have their labels."""
    image, folder = photograph(), tmp_path / 'images'
    folder.mkdir()
    whole = {
        'a.jpg': encoded(image, '.jpg'),
        'b.png': encoded(image, '.png'),
        'c.tif': encoded(image, '.tif'),
        'd.tif': tiled_tiff(image[..., ::-1], 'tiff_lzw'),
        'e.bmp': encoded(image, '.bmp'),
        'f.webp': encoded(image, '.webp'),
        'g.jpg': b'',
        'h.png': b'no image',
    }
    for name, data in whole.items():
        (folder / name).write_bytes(data[: len(data) * 2 // 3])
    (folder / 'z.png').write_bytes(whole['b.png'])
    report = run(*tiny, [folder], tmp_path / 'out', crop_size=64)
    assert report.images == 1
    for name in whole:
        reason = report.unreadable.pop(str(folder / name))
        size = (folder / name).stat().st_size
        what = f'cannot be read as an image ({size} bytes): it is truncated'
        what += ' or of another format'
        what = what if size else 'is empty'
        assert reason == f'{folder / name} {what}; copy or download it again'
    assert report.unreadable == {}
    written = sorted(os.listdir(tmp_path / 'out/labels'))
    assert written == ['z.png']


def test_tiff_of_other_channels_and_bits(tmp_path, tiny):
    image, folder = photograph(), tmp_path / 'images'
    folder.mkdir()
    four = np.dstack([image, image[..., 0]])
    for name, pixels in (
        ('four', four),
        ('deep', image.astype(np.uint16) * 257),
        ('gray', image[..., 0]),
    ):
        (folder / f'{name}.tif').write_bytes(encoded(pixels, '.tif'))
    # What is not told by a TIFF header is as it is in training.
    (folder / 'alpha.png').write_bytes(encoded(four, '.png'))
    report = run(*tiny, [folder], tmp_path / 'out')
    assert report.images == 2
    reasons = list(report.unreadable.values())
    assert reasons[0].startswith(
        f'{folder}/deep.tif is a TIFF of 16 bits a channel; expected 8, '
    )
    assert '-ot Byte -scale' in reasons[0]
    assert reasons[1].startswith(
        f'{folder}/four.tif is a TIFF of 4 channels; expected 3 (red, green, '
        'blue) or 1 (gray): write it with the channels that '
    )
    assert len(reasons) == 2


def test_a_loader_that_keeps_channels_gets_them(tmp_path):
    """A network for four channels is no fault of the image."""
    config, weights = write_segmentor(
        tmp_path / 'tiny',
        model__backbone__in_channels=4,
        model__data_preprocessor__mean=[128.0] * 4,
        model__data_preprocessor__std=[64.0] * 4,
        **{PIPELINE: [{**LOAD, 'color_type': 'unchanged'}, PACK]},
    )
    four = np.dstack([photograph(), photograph(1)[..., 0]])
    path = tmp_path / 'four.tif'
    path.write_bytes(encoded(four, '.tif'))
    report = run(config, weights, [path], tmp_path / 'out', crop_size=50)
    assert report.unreadable == {}
    upstream = Config.fromfile(config)
    upstream.model.test_cfg = slide_of(50)
    np.testing.assert_array_equal(
        read(tmp_path / 'out/labels/four.png'),
        labels_of_upstream(upstream, weights, path),
    )


@pytest.mark.parametrize(
    ('error', 'options', 'mend'),
    [
        (
            RuntimeError("DefaultCPUAllocator: can't allocate memory: you"),
            {},
            'give crop_size=512 for windows that slide over it',
        ),
        (
            torch.OutOfMemoryError('CUDA out of memory.'),
            {'crop_size': 50},
            'give smaller windows with crop_size and stride',
        ),
    ],
)
def test_memory_that_does_not_suffice(
    tmp_path, tiny, image, monkeypatch, error, options, mend
):
    def fail(self, found, on_windows):
        if found['img'].shape == (75, 110, 3):
            raise error
        return segment(self, found, on_windows)

    segment = Segmentor.segment
    monkeypatch.setattr(Segmentor, 'segment', fail)
    cv2.imwrite(str(image.with_name('b.png')), photograph(size=(40, 40)))
    report = run(*tiny, [image.parent], tmp_path / 'out', **options)
    assert report.images == 1
    [reason] = report.unreadable.values()
    assert reason.startswith(
        f'{image}: memory does not suffice for its 110x75 pixels; {mend}'
    )


def test_an_image_that_the_network_fails_for(
    tmp_path, tiny, image, monkeypatch
):
    def fail(self, batch):
        raise ValueError('too\nsmall')

    monkeypatch.setattr(LeanInference, 'test_step', fail, raising=False)
    report = run(*tiny, [image], tmp_path / 'out')
    assert list(report.unreadable.values()) == [
        f'{image}: the segmentor fails for its 110x75 pixels: too small'
    ]


def test_pictures(tmp_path):
    """They are small, and have the colors of classes that are seen alone."""
    config, weights = write_segmentor(tmp_path / 'tiny')
    checkpoint = torch.load(weights)
    checkpoint['state_dict']['decode_head.conv_seg.bias'][1] = -1e6
    torch.save(checkpoint, weights)
    path = tmp_path / 'large.bmp'
    large = cv2.resize(photograph(), (1000, 750))
    cv2.imwrite(str(path), large)
    out = tmp_path / 'out'
    run(config, weights, [path], out, crop_size=500, stride=500)
    labels, picture = read(out / 'labels/large.png'), read_picture(out)
    assert labels.shape == (750, 1000)
    assert max(picture.shape) < 2000
    shown = cv2.resize(large, (800, 600), interpolation=cv2.INTER_AREA)
    small = cv2.resize(labels, (800, 600), interpolation=cv2.INTER_NEAREST)
    seen = set(np.unique(small))
    assert seen == {0, 2}
    for index, color in enumerate(PALETTE):
        there = (picture == color).all(-1).any()
        assert there == (index in seen)
    expected = draw_panel(
        'large.bmp',
        shown[..., ::-1],
        {'prediction': small},
        read_style(SimpleNamespace(metainfo=META)),
    )
    np.testing.assert_array_equal(picture, expected)


def read_picture(out):
    (path,) = (out / 'pictures').iterdir()
    return read(path)[..., ::-1]


def test_more_classes_than_8_bits_have(tmp_path, image):
    config, weights = write_segmentor(
        tmp_path / 'tiny', model__decode_head__num_classes=300
    )
    with pytest.raises(ValueError, match=r'300 classes, .* 3 names and 3 col'):
        run(config, weights, [image], tmp_path / 'out')
    run(config, weights, [image], tmp_path / 'out', pictures=False)
    labels = read(tmp_path / 'out/labels/a.png')
    assert labels.dtype == np.uint16
    assert labels.max() > 255
    expected = labels_of_upstream(Config.fromfile(config), weights, image)
    np.testing.assert_array_equal(labels, expected)


def test_names_and_colors_of_the_test_set(tmp_path, image):
    """They stand in where a checkpoint has none."""
    config, weights = write_segmentor(tmp_path / 'tiny')
    state = torch.load(weights)['state_dict']
    torch.save({'state_dict': state}, weights)
    segmentor = load_segmentor(str(config), str(weights), 'cpu')
    assert segmentor.classes == ('sky', 'wall', 'road')
    assert [tuple(color) for color in segmentor.palette] == list(PALETTE)


def test_a_run_that_goes_on(tmp_path, tiny, image, monkeypatch):
    """What is there is not made again."""
    cv2.imwrite(str(image.with_name('b.png')), photograph(1))
    cv2.imwrite(str(image.with_name('c.png')), photograph(2))
    whole, out = tmp_path / 'whole', tmp_path / 'out'
    run(*tiny, [image.parent], whole)
    segment, seen = Segmentor.segment, []

    def stop(self, found, on_windows):
        if seen.append(found['img_path']) or len(seen) == 2:
            raise KeyboardInterrupt
        return segment(self, found, on_windows)

    monkeypatch.setattr(Segmentor, 'segment', stop)
    with pytest.raises(KeyboardInterrupt):
        run(*tiny, [image.parent], out)
    with pytest.raises(
        ValueError, match='belongs to a stopped run of other images'
    ):
        run(*tiny, [image.parent], out, crop_size=64)
    report = run(*tiny, [image.parent], out)
    assert report.images == 3
    names = [os.path.basename(path) for path in seen]
    assert names == ['a.png', 'b.png', 'b.png', 'c.png']
    assert contents(out) == contents(whole)
    with pytest.raises(ValueError, match='not an empty folder'):
        run(*tiny, [image.parent], out)


def contents(folder):
    files = (path for path in folder.rglob('*') if path.is_file())
    return {path.relative_to(folder): path.read_bytes() for path in files}


def test_names_that_are_too_long(tmp_path, tiny, image):
    name = 'n' * 250 + '.bmp'
    image.with_name(name).write_bytes(encoded(photograph(), '.bmp'))
    image.with_name('n' * 250).write_bytes(b'')
    report = run(
        *tiny,
        [image.with_name(name), image.with_name('n' * 250)],
        tmp_path / 'out',
    )
    reason = report.unreadable[str(image.with_name(name))]
    assert 'its name is too long: its label map would have 258 bytes' in reason


def test_gray_values_of_a_pillow_loader(tmp_path):
    """A picture of what has one channel, and no third axis."""
    config, weights = write_segmentor(
        tmp_path / 'tiny',
        model__backbone__in_channels=1,
        model__data_preprocessor__mean=[128.0],
        model__data_preprocessor__std=[64.0],
        **{PIPELINE: [{**LOAD, 'color_type': 'grayscale'}, PACK]},
    )
    buffer = io.BytesIO()
    Image.fromarray(photograph()[..., 0]).save(buffer, 'PNG')
    path = tmp_path / 'gray.png'
    path.write_bytes(buffer.getvalue())
    run(config, weights, [path], tmp_path / 'out', crop_size=50)
    upstream = Config.fromfile(config)
    upstream.model.test_cfg = slide_of(50)
    np.testing.assert_array_equal(
        read(tmp_path / 'out/labels/gray.png'),
        labels_of_upstream(upstream, weights, path),
    )
    assert read_picture(tmp_path / 'out').shape[2] == 3
