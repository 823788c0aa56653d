import pickle

import cv2
import mmcv
import numpy as np
import pytest
from mmcv.transforms import (
    LoadImageFromFile,
    RandomChoice,
    RandomFlip,
    RandomResize,
)
from mmseg.datasets.transforms import RandomCrop
from mmseg.registry import TRANSFORMS
from PIL import ExifTags, Image

from mmseg_ext.datasets import FusedResizeCropFlip
from mmseg_ext.datasets.transforms import jpeg_rows
from mmseg_ext.sample_data.scenes.render import render_scene

#: What the steps add or change, but for pixels.
TOLD = (
    *('scale', 'scale_factor', 'img_shape', 'ori_shape', 'keep_ratio'),
    *('flip', 'flip_direction', 'swap_seg_labels'),
)


def noise(shape, seed=0):
    """The largest steps from pixel to pixel that there are."""
    return np.random.default_rng(seed).integers(0, 2, shape, np.uint8) * 255


def blocks(shape, seed=0):
    small = np.random.default_rng(seed).integers(0, 9, (7, 9), np.uint8)
    small[small == 8] = 255
    label = cv2.resize(small, shape[::-1], interpolation=cv2.INTER_NEAREST)
    label[shape[0] // 3 :] = 3
    return label


def stock(
    crop_size,
    scale=None,
    ratio_range=None,
    scale_factors=None,
    keep_ratio=False,
    cat_max_ratio=1.0,
    ignore_index=255,
    prob=0.5,
    direction='horizontal',
    swap_seg_labels=None,
):
    """Return the three steps of upstream for the same options."""
    if scale_factors:
        resize = RandomChoice(
            [
                [
                    {
                        'type': 'Resize',
                        'scale_factor': factor,
                        'keep_ratio': keep_ratio,
                    }
                ]
                for factor in scale_factors
            ]
        )
    else:
        resize = RandomResize(scale, ratio_range, keep_ratio=keep_ratio)
    return [
        resize,
        RandomCrop(crop_size, cat_max_ratio, ignore_index),
        RandomFlip(prob, direction, swap_seg_labels),
    ]


def sample(image, label):
    found = {'img_path': 'a.jpg', 'seg_fields': []}
    if image is not None:
        found['img'] = image.copy()
        found['img_shape'] = found['ori_shape'] = image.shape[:2]
    if label is not None:
        found['seg_map_path'] = 'a.png'
        found['gt_seg_map'] = label.copy()
        found['seg_fields'] = ['gt_seg_map']
    return found


def run(steps, results, seed):
    """Run steps from a random state; return their result and what is next."""
    np.random.seed(seed)
    for step in steps:
        results = step(results)
    return results, np.random.random()


def check_same(ours, theirs, levels=1):
    (ours, our_next), (theirs, their_next) = ours, theirs
    assert our_next == their_next
    for key in TOLD:
        assert ours.get(key) == theirs.get(key), key
        assert (key in ours) == (key in theirs)
    if 'gt_seg_map' in theirs:
        assert ours['gt_seg_map'].dtype == theirs['gt_seg_map'].dtype
        np.testing.assert_array_equal(ours['gt_seg_map'], theirs['gt_seg_map'])
    assert ours['img'].dtype == theirs['img'].dtype
    assert ours['img'].shape == theirs['img'].shape
    difference = np.abs(ours['img'].astype(float) - theirs['img'])
    assert difference.max() <= levels
    return difference.mean()


BOTH = {'keep_ratio': True, 'cat_max_ratio': 0.75}
OPTIONS = [
    pytest.param(
        {'crop_size': (64, 96), 'scale': (256, 160), 'ratio_range': (0.3, 3)}
        | BOTH,
        id='as in recipes',
    ),
    pytest.param(
        {'crop_size': (64, 96), 'scale': (150, 97), 'ratio_range': (0.2, 2)},
        id='ratio not kept, small and large',
    ),
    pytest.param(
        {'crop_size': 31, 'scale': [(60, 190), (230, 40)]}, id='two scales'
    ),
    pytest.param(
        {'crop_size': (40, 40), 'scale_factors': (0.5, 0.77, 1.0, 2.5)} | BOTH,
        id='factors',
    ),
    pytest.param(
        {
            'crop_size': (30, 50),
            'scale': (200, 200),
            'ratio_range': (0.5, 2.0),
            'cat_max_ratio': 0.3,
            'ignore_index': 3,
            'prob': [0.2, 0.3, 0.4],
            'direction': ['horizontal', 'vertical', 'diagonal'],
            'swap_seg_labels': [(3, 4), (1, 7)],
        },
        id='all flips, few crops that fit',
    ),
    pytest.param(
        {'crop_size': 400, 'scale': (90, 90), 'ratio_range': (1, 4), 'prob': 1}
        | BOTH,
        id='larger than the image',
    ),
]
SHAPES = [(99, 163), (160, 256), (1, 40), (7, 3)]


@pytest.mark.parametrize('shape', SHAPES, ids=str)
@pytest.mark.parametrize('options', OPTIONS)
def test_same_as_upstream(options, shape):
    image, label = noise((*shape, 3)), blocks(shape)
    ours = FusedResizeCropFlip(**options)
    theirs = stock(**{**options, 'prob': float_of(options)})
    for seed in range(25):
        check_same(
            run([ours], sample(image, label), seed),
            run(theirs, sample(image, label), seed),
        )


def float_of(options):
    """Upstream takes no integer for a probability."""
    prob = options.get('prob', 0.5)
    return float(prob) if isinstance(prob, int) else prob


@pytest.mark.parametrize('size', [(1600, 900), (1920, 1080), (1237, 803)])
def test_large_images(size):
    image = noise((size[1], size[0], 3))
    label = blocks(image.shape[:2])
    options = {'scale': (2048, 1024), 'ratio_range': (0.5, 2.0)} | BOTH
    ours = FusedResizeCropFlip((512, 1024), **options)
    for seed in range(4):
        check_same(
            run([ours], sample(image, label), seed),
            run(stock((512, 1024), **options), sample(image, label), seed),
        )


@pytest.mark.parametrize(
    ('old', 'new', 'crop'),
    [
        ((1025, 2050), (1024, 2048), 256),
        ((482, 640), (480, 640), 64),
        ((480, 643), (480, 640), (64, 300)),
        ((360, 480), (359, 479), 128),
        ((359, 479), (360, 480), (300, 100)),
    ],
)
def test_scales_near_one(old, new, crop):
    """OpenCV copies a part whose size would stay, though pixels move."""
    image, label = noise((*old, 3)), blocks(old)
    options = {'scale': new[::-1], 'ratio_range': (1.0, 1.0)}
    ours = FusedResizeCropFlip(crop, **options)
    for seed in range(12):
        check_same(
            run([ours], sample(image, label), seed),
            run(stock(crop, **options), sample(image, label), seed),
        )


LABELS = {
    'all ignored': np.full((60, 80), 255, np.uint8),
    'one class': np.full((60, 80), 4, np.uint8),
    'noise': np.random.default_rng(0).integers(0, 256, (60, 80), np.uint8),
    'int32': np.random.default_rng(0).integers(-2, 400, (60, 80), np.int32),
    'flipped': blocks((60, 80))[::-1, ::-1],
    # Exactly three quarters: the ratio that is no longer allowed.
    'stripes': np.tile((np.arange(80) % 4 == 0).astype(np.uint8), (60, 1)),
}


@pytest.mark.parametrize('kind', LABELS)
def test_crops_are_drawn_again_as_upstream_does(kind):
    options = {'scale': (80, 60), 'ratio_range': (0.4, 3.0)} | BOTH
    image = noise((60, 80, 3))
    for ratio in (0.75, 0.2, 1e-9):
        options['cat_max_ratio'] = ratio
        ours = FusedResizeCropFlip((24, 32), **options)
        for seed in range(15):
            check_same(
                run([ours], sample(image, LABELS[kind]), seed),
                run(
                    stock((24, 32), **options),
                    sample(image, LABELS[kind]),
                    seed,
                ),
            )


IMAGES = {
    'gray': noise((50, 70)),
    'one channel': noise((50, 70, 1)),
    'four channels': noise((50, 70, 4)),
    'uint16': noise((50, 70, 3)).astype(np.uint16),
    'float32': noise((50, 70, 3)).astype(np.float32),
    'view': noise((100, 140, 3))[::-2, ::2],
}


@pytest.mark.parametrize('kind', IMAGES)
def test_other_images(kind):
    options = {'scale': (100, 70), 'ratio_range': (0.5, 2.0)}
    ours = FusedResizeCropFlip(32, **options)
    image = IMAGES[kind]
    for seed in range(10):
        check_same(
            run([ours], sample(image, None), seed),
            run(stock(32, **options), sample(image, None), seed),
        )


def test_image_that_cannot_be_resized():
    crop = FusedResizeCropFlip(8, scale_factors=[1.5])
    with pytest.raises(ValueError, match=r'a\.jpg, int64 of shape \(9, 9\)'):
        crop(sample(np.zeros((9, 9), int), None))


# Files.

OPTIONS_OF_FILES = {
    'crop_size': (90, 130),
    'scale': (320, 240),
    'ratio_range': (0.2, 2.0),
    **BOTH,
}


@pytest.fixture(scope='module')
def photograph():
    """A drawn street, 321x241: soft edges, textures, noise."""
    return render_scene((321, 241), 0, 0).image


def write(folder, image, *options, name='a.jpg'):
    path = folder / name
    assert cv2.imwrite(str(path), image, options)
    return path


def file_sample(path, label):
    return {**sample(None, label), 'img_path': str(path)}


def compare_files(path, label, levels=1, seeds=25, **more):
    """Compare the whole beginning of a pipeline; return mean differences."""
    options = {**OPTIONS_OF_FILES, **more}
    ours = FusedResizeCropFlip(**options)
    options.pop('scaled_decode', None)
    theirs = [LoadImageFromFile(), *stock(**options)]
    return [
        check_same(
            run([ours], file_sample(path, label), seed),
            run(theirs, file_sample(path, label), seed),
            levels,
        )
        for seed in range(seeds)
    ]


SAMPLING = cv2.IMWRITE_JPEG_SAMPLING_FACTOR
FILES = {
    'JPEG': ('a.jpg', ()),
    'whole colors': (
        'a.jpg',
        (SAMPLING, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444),
    ),
    'half the columns': (
        'a.jpg',
        (SAMPLING, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_422),
    ),
    'half the rows': (
        'a.jpg',
        (SAMPLING, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_440),
    ),
    'restarts': ('a.jpg', (cv2.IMWRITE_JPEG_RST_INTERVAL, 5)),
    'progressive': ('a.jpg', (cv2.IMWRITE_JPEG_PROGRESSIVE, 1)),
    'PNG': ('a.png', ()),
}


@pytest.mark.parametrize('rows', [False, True], ids=['OpenCV', 'simplejpeg'])
@pytest.mark.parametrize('kind', FILES)
def test_files(kind, rows, photograph, tmp_path, monkeypatch):
    if rows:
        pytest.importorskip('simplejpeg')
    else:
        monkeypatch.setattr(jpeg_rows, 'simplejpeg', None)
    name, options = FILES[kind]
    path = write(tmp_path, photograph, *options, name=name)
    label = blocks((241, 321))
    compare_files(path, label, scaled_decode=False)
    # Without a label all is decoded.
    compare_files(path, None, cat_max_ratio=1.0, seeds=5)


def test_rows_are_those_of_opencv(photograph, tmp_path):
    """And fewer than there are: else nothing would be gained."""
    pytest.importorskip('simplejpeg')
    data = write(tmp_path, photograph).read_bytes()
    whole = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    header = jpeg_rows.read_header(data)
    for rows in (1, 8, 16, 17, 100, 224, 225, 226, 241):
        found = jpeg_rows.decode_rows(data, header, rows)
        np.testing.assert_array_equal(found, whole[:rows])


def test_header(photograph, tmp_path):
    """Not that of a thumbnail; bytes without meaning are passed over."""
    path = write(tmp_path, photograph)
    data = path.read_bytes()
    header = jpeg_rows.read_header(data)
    assert header.size == (241, 321)
    assert header.is_plain
    assert data[header.frame :][:2] == b'\xff\xc0'
    assert data[header.scan :][:2] == b'\xff\xda'
    filled = data[:2] + b'\0\xff\0\xff' + data[2:]
    assert jpeg_rows.read_header(filled) == header._replace(
        frame=header.frame + 4, scan=header.scan + 4
    )
    with_exif(path, 1, write(tmp_path, photograph[:9], name='b.jpg'))
    turned = jpeg_rows.read_header(path.read_bytes())
    assert turned.size == (241, 321)
    assert not turned.is_plain
    png = write(tmp_path, photograph, name='a.png').read_bytes()
    for wrong in (b'', data[:20], data[: header.scan], data[1:], png):
        assert jpeg_rows.read_header(wrong) is None


def test_scaled_decoding(photograph, tmp_path, monkeypatch):
    """It is near upstream's, nearer to what averages; and can be left out."""
    flags = set()
    decode = cv2.imdecode

    def note(data, flag):
        flags.add(flag)
        return decode(data, flag)

    path = write(tmp_path, photograph)
    label = blocks((241, 321))
    with monkeypatch.context() as patch:
        patch.setattr(cv2, 'imdecode', note)
        patch.setattr(jpeg_rows, 'simplejpeg', None)
        means = compare_files(
            path, label, levels=255, ratio_range=(0.05, 1.2), seeds=60
        )
    assert flags == {
        cv2.IMREAD_COLOR,
        cv2.IMREAD_REDUCED_COLOR_2,
        cv2.IMREAD_REDUCED_COLOR_4,
        cv2.IMREAD_REDUCED_COLOR_8,
    }
    assert 1 < max(means) < 25
    # Where all pixels are averaged, to a quarter, it is nearly the same.
    image = cv2.imread(str(path))
    small = cv2.resize(image, (80, 60), interpolation=cv2.INTER_AREA)
    crop = FusedResizeCropFlip((60, 80), [(80, 60), (80, 60)], prob=0.0)
    ours = crop(file_sample(path, label))['img']
    assert np.abs(ours.astype(int) - small).mean() < 3


def with_exif(path, orientation, thumbnail=None):
    """Give a JPEG file an orientation, without coding it anew."""
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    body = b'Exif\0\0' + exif.tobytes()[6:]
    body += thumbnail.read_bytes() if thumbnail else b''
    length = (len(body) + 2).to_bytes(2, 'big')
    data = path.read_bytes()
    path.write_bytes(data[:2] + b'\xff\xe1' + length + body + data[2:])


@pytest.mark.parametrize('orientation', range(1, 9))
@pytest.mark.parametrize('scaled', [False, True])
def test_exif(orientation, scaled, photograph, tmp_path):
    path = write(tmp_path, photograph)
    with_exif(path, orientation)
    shape = mmcv.imread(str(path)).shape[:2]
    assert shape == ((241, 321) if orientation < 5 else (321, 241))
    ratios = (0.1, 0.2) if scaled else (0.6, 2.0)
    means = compare_files(
        path,
        blocks(shape),
        levels=255 if scaled else 1,
        ratio_range=ratios,
        seeds=6,
    )
    # An image that is turned otherwise is farther away.
    assert max(means) < 30
    crop = FusedResizeCropFlip(8, [(80, 80), (80, 80)])
    with pytest.raises(ValueError, match='expected equal sizes'):
        crop(file_sample(path, blocks(shape[::-1])))


def test_gray_jpeg(photograph, tmp_path):
    path = write(tmp_path, photograph[..., 1])
    means = compare_files(path, blocks((241, 321)), ratio_range=(0.6, 2.0))
    assert max(means) < 1
    compare_files(
        path, blocks((241, 321)), levels=255, ratio_range=(0.1, 0.4), seeds=5
    )


def test_cmyk_jpeg(photograph, tmp_path):
    path = tmp_path / 'a.jpg'
    Image.fromarray(photograph).convert('CMYK').save(path)
    compare_files(path, blocks((241, 321)), scaled_decode=False, seeds=5)


@pytest.mark.parametrize('share', [0.3, 0.9, 0.999])
@pytest.mark.parametrize('name', ['a.jpg', 'a.png'])
def test_image_that_is_cut_off(name, share, photograph, tmp_path):
    path = write(tmp_path, photograph, name=name)
    data = path.read_bytes()
    path.write_bytes(data[: int(share * len(data))])
    crop = FusedResizeCropFlip(**OPTIONS_OF_FILES)
    with pytest.raises(ValueError, match=rf'{name} .*(cut off|truncated)'):
        crop(file_sample(path, blocks((241, 321))))


@pytest.mark.parametrize('thumbnail', [False, True])
def test_end_that_is_not_last(thumbnail, photograph, tmp_path, monkeypatch):
    """Phones write more behind it; a thumbnail's own end does not count."""
    path = write(tmp_path, photograph)
    if thumbnail:
        with_exif(path, 1, write(tmp_path, photograph[:9], name='b.jpg'))
    data = path.read_bytes()
    label = blocks((241, 321))
    # OpenCV shall not judge, as some of its releases do not; nor Pillow, which
    # takes the time of all the other steps.
    monkeypatch.setattr(cv2, 'imdecode', lambda *_: photograph)
    monkeypatch.setattr(Image, 'open', None)
    for behind in (b'', b'\0' * 7000, b'Samsung' * 40):
        crop = FusedResizeCropFlip(**OPTIONS_OF_FILES, scaled_decode=False)
        path.write_bytes(data + behind)
        crop(file_sample(path, label))
        path.write_bytes(data[:-2] + behind)
        with pytest.raises(ValueError, match=r'a\.jpg is cut off'):
            crop(file_sample(path, label))


def test_jpeg_beyond_the_limit_of_pillow(tmp_path, monkeypatch):
    """MMSeg loads such images, too."""
    path = write(tmp_path, noise((200, 300, 3)))
    monkeypatch.setattr(Image, 'MAX_IMAGE_PIXELS', 100)
    for label in (None, blocks((200, 300))):
        compare_files(path, label, levels=255, seeds=4, cat_max_ratio=1.0)


@pytest.mark.parametrize(
    ('path', 'error', 'said'),
    [
        (None, ValueError, 'no image: expected img_path'),
        ('', OSError, 'image {} cannot be read: '),
    ],
)
def test_image_that_is_no_file(path, error, said, tmp_path):
    results = sample(None, blocks((241, 321)))
    results['img_path'] = path if path is None else str(tmp_path)
    crop = FusedResizeCropFlip(**OPTIONS_OF_FILES)
    with pytest.raises(error, match=said.format(tmp_path)):
        crop(results)
    if path is None:
        del results['img_path']
        with pytest.raises(error, match=said):
            crop(results)


@pytest.mark.parametrize(
    ('options', 'shape', 'said'),
    [
        ({'scale_factors': [0.1]}, (1, 40), 'would become 4x0 pixels'),
        ({'scale_factors': [0.1], **BOTH}, (40, 4), 'would become 0x0 pix'),
        ({'scale': (4, 4), 'ratio_range': (1, 1)} | BOTH, (1, 90), 'become 4'),
        ({'scale': (1, 1), 'ratio_range': (0.1, 0.1)}, (9, 9), 'become 0x0'),
        ({'scale_factors': [1.0], **BOTH}, (0, 40), 'is 40x0 pixels'),
        ({'scale': (4, 4), 'ratio_range': (1, 1)}, (7, 0), 'is 0x7 pixels'),
    ],
)
def test_no_pixel_is_left(options, shape, said):
    crop = FusedResizeCropFlip(8, **options)
    label = np.zeros(shape, np.uint8)
    with pytest.raises(ValueError, match=rf'image a\.jpg .*{said}'):
        crop(sample(noise((*shape, 3)), label))


def test_image_that_is_missing(tmp_path):
    crop = FusedResizeCropFlip(**OPTIONS_OF_FILES)
    with pytest.raises(FileNotFoundError, match=r'image .*a\.jpg is missing'):
        crop(file_sample(tmp_path / 'a.jpg', blocks((241, 321))))


def test_no_image(tmp_path):
    path = tmp_path / 'a.jpg'
    path.write_bytes(b'nothing')
    crop = FusedResizeCropFlip(**OPTIONS_OF_FILES)
    with pytest.raises(ValueError, match=r'a\.jpg cannot be read'):
        crop(file_sample(path, blocks((241, 321))))


@pytest.mark.parametrize('shape', [(240, 321), (100, 100), (321, 241)])
@pytest.mark.parametrize('name', ['a.jpg', 'a.png'])
@pytest.mark.parametrize('scale', [(20, 20), (500, 500)])
def test_label_of_another_size(scale, name, shape, photograph, tmp_path):
    path = write(tmp_path, photograph, name=name)
    crop = FusedResizeCropFlip(16, [scale, scale])
    text = rf'label a\.png is {shape[1]}x{shape[0]} pixels.*{name} 321x241'
    with pytest.raises(ValueError, match=text):
        crop(file_sample(path, np.zeros(shape, np.uint8)))


def test_label_of_another_size_than_a_loaded_image():
    crop = FusedResizeCropFlip(16, scale_factors=(1.0,))
    with pytest.raises(ValueError, match=r'is 7x8 pixels, .* 8x8'):
        crop(sample(noise((8, 8, 3)), np.zeros((8, 7), np.uint8)))
    with pytest.raises(ValueError, match='expected equal sizes'):
        crop(sample(noise((1, 8, 3)), np.zeros(8, np.uint8)))


def test_ratio_of_classes_without_labels():
    crop = FusedResizeCropFlip(16, scale_factors=(1.0,), cat_max_ratio=0.75)
    with pytest.raises(ValueError, match=r'cat_max_ratio=0\.75 needs labels'):
        crop(sample(noise((8, 8, 3)), None))


def test_labels_that_are_loaded_too_late():
    crop = FusedResizeCropFlip(4, scale_factors=(1.0,))
    results = {**sample(noise((8, 8, 3)), None), 'seg_map_path': 'a.png'}
    with pytest.raises(
        ValueError, match=r'label a\.png is not loaded yet, and'
    ):
        crop(results)


@pytest.mark.parametrize('key', ['gt_bboxes', 'gt_depth_map', 'gt_more'])
def test_what_would_stay_as_it_is(key):
    results = sample(noise((8, 8, 3)), np.zeros((8, 8), np.uint8))
    results[key] = noise((8, 8))
    if key == 'gt_more':
        results['seg_fields'].append(key)
    with pytest.raises(ValueError, match=f'got {key} of image a.jpg'):
        FusedResizeCropFlip(16, scale_factors=(1.0,))(results)


RATIO = {'scale': (9, 9), 'ratio_range': (0.5, 2.0)}


@pytest.mark.parametrize(
    ('options', 'name'),
    [
        ({'crop_size': 0}, 'crop_size=0'),
        ({'crop_size': (3, -1)}, r'crop_size=\(3, -1\)'),
        ({'crop_size': (3, 4, 5)}, 'crop_size'),
        ({'crop_size': 1.5}, 'crop_size'),
        ({'ratio_range': (2.0, 0.5)}, r'ratio_range=\(2\.0, 0\.5\)'),
        ({'ratio_range': (0, 1)}, 'ratio_range'),
        ({'ratio_range': (-1, 1)}, 'ratio_range'),
        ({'ratio_range': None}, 'ratio_range=None'),
        ({'ratio_range': 2}, 'ratio_range'),
        ({'scale': None}, 'scale=None'),
        ({'scale': (0, 4)}, 'scale'),
        ({'scale': 7}, 'scale=7'),
        ({'scale': [(3, 4), (5, 6)]}, 'ratio_range'),
        ({'scale': [(3, 4)] * 3, 'ratio_range': None}, 'scale'),
        ({'scale_factors': (1.0,)}, 'scale_factors'),
        ({**RATIO, 'scale_factors': ()}, 'scale_factors'),
        (
            {'scale': None, 'ratio_range': None, 'scale_factors': (1, 0)},
            'scale_factors',
        ),
        ({'prob': 1.5}, 'prob=1.5'),
        ({'prob': None}, 'prob=None'),
        ({'prob': [0.5, 0.6], 'direction': ['vertical'] * 2}, 'prob'),
        ({'direction': 'up'}, "direction='up'"),
        ({'direction': []}, r'direction=\[\]'),
        ({'cat_max_ratio': 'much'}, "cat_max_ratio='much'"),
        ({'cat_max_ratio': 75}, 'cat_max_ratio=75'),
        ({'cat_max_ratio': 0}, 'cat_max_ratio=0'),
        ({'ignore_index': 'a'}, "ignore_index='a'"),
        ({'ignore_index': 2.5}, r'ignore_index=2\.5'),
        ({'keep_ratio': 'yes'}, "keep_ratio='yes'"),
        ({'scaled_decode': 'no'}, "scaled_decode='no'"),
        ({'backend_args': 5}, 'backend_args=5'),
        ({'swap_seg_labels': 5}, 'swap_seg_labels=5'),
        ({'swap_seg_labels': [3, 4]}, r'swap_seg_labels=\[3, 4\]'),
        ({'ratio_range': (0.5, float('inf'))}, r'ratio_range=\(0\.5, inf'),
        ({'scale': [(1, 2)], 'ratio_range': None}, r'scale=\[\(1, 2'),
    ],
)
def test_wrong_arguments(options, name):
    with pytest.raises(ValueError, match=name):
        FusedResizeCropFlip(**{'crop_size': 3, **RATIO, **options})


def test_misspelt_argument():
    config = {'type': 'FusedResizeCropFlip', 'crop_sise': 3, **RATIO}
    with pytest.raises(TypeError, match='crop_sise'):
        TRANSFORMS.build(config)


def test_configs_of_the_three_steps_are_put_together():
    """Lists, as from ``--cfg-options``, are as good as tuples."""
    crop = TRANSFORMS.build(
        {
            **{'type': 'RandomResize', 'scale': [64, 48], 'keep_ratio': True},
            'ratio_range': [0.5, 2.0],
            **{'type': 'FastRandomCrop', 'crop_size': [16, 24]},
            **{'type': 'RandomFlip', 'prob': 0.5},
            'type': 'FusedResizeCropFlip',
        }
    )
    options = {'scale': (64, 48), 'ratio_range': (0.5, 2.0)}
    image, label = noise((30, 40, 3)), blocks((30, 40))
    # A worker that is spawned gets it pickled.
    for ours in (crop, pickle.loads(pickle.dumps(crop))):
        check_same(
            run([ours], sample(image, label), 3),
            run(
                stock((16, 24), keep_ratio=True, **options),
                sample(image, label),
                3,
            ),
        )
    assert 'crop_size=(16, 24)' in repr(crop)
