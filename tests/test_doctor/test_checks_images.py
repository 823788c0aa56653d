"""Forms of images that loaders make something else of."""

import cv2
import numpy as np
import pytest
from mmengine.config import Config
from PIL import Image

from helpers.doctor import assert_only, plants
from mmseg_ext.doctor.findings import Level


def convert(path, mode):
    Image.open(path).convert(mode).save(path)


@plants('image-gray')
def test_one_image_is_gray(street):
    path = street.files('train')[1]
    convert(path, 'L')
    [found] = assert_only(street.examine(), 'image-gray', path, 'train')
    assert found.level == Level.NOTE
    convert(path, 'RGB')
    assert_only(street.examine(), 'image-gray', path, 'train')


def test_one_split_is_gray(street):
    for path in street.files('val'):
        convert(path, 'L')
    [found] = assert_only(street.examine(), 'image-gray', split='val')
    assert (found.level, found.value) == (Level.WARNING, 3)


def test_all_images_are_gray(street):
    for split in ('train', 'val'):
        for path in street.files(split):
            convert(path, 'L')
    found = assert_only(street.examine(), 'image-gray')
    assert [(f.level, f.value) for f in found] == [(0, 6), (0, 3)]


@plants('image-16-bit')
def test_16_bits(street):
    path = street.files('train')[1]
    gray = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)
    cv2.imwrite(str(path), gray.astype(np.uint16) * 16)
    [found] = assert_only(street.examine(), 'image-16-bit', path, 'train')
    assert found.level == Level.WARNING


@plants('image-cmyk')
def test_cmyk(street):
    path = street.files('val')[1]
    # What a file holds tells, not its name.
    Image.open(path).convert('CMYK').save(path, 'JPEG')
    assert_only(street.examine(), 'image-cmyk', path, 'val')


@plants('image-alpha')
def test_alpha(shapes):
    path = shapes.files('train')[1]
    convert(path, 'RGBA')
    assert_only(shapes.examine(), 'image-alpha', path, 'train')


def turn(path, orientation):
    """Say that an image is to be turned."""
    image = Image.open(path)
    exif = Image.Exif()
    exif[0x112] = orientation
    image.save(path, exif=exif)


@plants('image-turned')
@pytest.mark.parametrize('orientation', [5, 6, 8])
def test_an_image_is_turned_and_its_label_is_not(street, orientation):
    path = street.files('train')[1]
    turn(path, orientation)
    [found] = assert_only(street.examine(), 'image-turned', path, 'train')
    assert found.level == Level.ERROR
    assert 'LoadImageFromFile (cv2, color) turns it, and' in found.text
    # The loader can be told to leave it.
    cfg = Config.fromfile(street.config)
    cfg.merge_from_dict(dict(found.change))
    cfg.dump(street.config)
    [found] = assert_only(street.examine(), 'image-turned', path, 'train')
    assert found.level == Level.NOTE
    assert 'does not turn it, as the label lies' in found.text
    part = cfg.train_dataloader.dataset
    assert part.pipeline[0].color_type == 'color_ignore_orientation'


def test_image_and_label_are_turned(street):
    path = street.files('train')[1]
    turn(path, 6)
    label = street.root / 'train_labels' / path.name
    cv2.imwrite(str(label), np.rot90(street.label(label), -1))
    [found] = assert_only(street.examine(), 'image-turned', path, 'train')
    assert found.level == Level.NOTE
    assert not found.change


@pytest.mark.parametrize('orientation', [2, 3, 4])
def test_sizes_do_not_tell(street, orientation):
    path = street.files('train')[1]
    turn(path, orientation)
    [found] = assert_only(street.examine(), 'image-turned', path, 'train')
    assert found.level == Level.WARNING


@pytest.mark.parametrize('backend', ['cv2', 'pillow'])
@pytest.mark.parametrize(
    'color', ['color', 'grayscale', 'unchanged', 'color_ignore_orientation']
)
def test_what_the_loader_does_is_what_it_does(street, backend, color):
    """It is compared with an image that was loaded."""
    path = street.files('train')[1]
    turn(path, 6)
    street.change(
        "dict(type='LoadImageFromFile')",
        f"dict(type='LoadImageFromFile', imdecode_backend='{backend}', "
        f"color_type='{color}')",
    )
    diagnosis = street.examine(splits=['train'])
    [found] = [f for f in diagnosis.findings if f.code == 'image-turned']
    dataset = diagnosis.case.splits['train'].parts[0].dataset
    loader = dataset.pipeline.transforms[0]
    height, width = loader(dict(img_path=str(path)))['img'].shape[:2]
    assert (width, height) in {(96, 72), (72, 96)}
    turns = 'does not turn' if (width, height) == (96, 72) else 'turns'
    assert f'({backend}, {color}) {turns} it' in found.text


@pytest.mark.parametrize('channels', [3, 4])
def test_16_bits_of_color(street, channels):
    path = street.files('train')[1]
    image = cv2.imread(str(path)).astype(np.uint16) * 256
    image = np.dstack([image, np.full_like(image[..., 0], 65535)])
    cv2.imwrite(str(path), image[..., :channels])
    diagnosis = street.examine()
    [found] = assert_only(diagnosis, 'image-16-bit', path, 'train')
    assert found.text == ('PNG RGB;16' if channels == 3 else 'PNG RGBA;16')
    codes = {f.code for f in diagnosis.findings}
    assert ('image-alpha' in codes) == (channels == 4)
