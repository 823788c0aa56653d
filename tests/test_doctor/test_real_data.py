"""What the doctor says of photographs, as they are and with defects."""

import shutil

import cv2
import numpy as np
import pytest
from PIL import Image

from helpers.doctor import moved, semantic_patient
from helpers.real_data import CAMVID, NAILS
from mmseg_ext.converters.nails import convert
from mmseg_ext.doctor.examine import examine
from mmseg_ext.doctor.findings import Level

pytestmark = pytest.mark.skipif(
    not CAMVID.is_dir(), reason=f'no copy of CamVid in {CAMVID}'
)

#: Colors of the masks, RGB, in the order of the classes.
COLORS = {
    'Sky': (128, 128, 128),
    'Building': (128, 0, 0),
    'Pole': (192, 192, 128),
    'Road': (128, 64, 128),
    'Pavement': (0, 0, 192),
    'Tree': (128, 128, 0),
    'Sign': (192, 128, 128),
    'Fence': (64, 64, 128),
    'Car': (64, 0, 128),
    'Pedestrian': (64, 64, 0),
    'Bicyclist': (0, 128, 192),
}


@pytest.fixture(scope='module')
def _frames(tmp_path_factory):
    """CamVid with index masks of the eleven classes."""
    root = tmp_path_factory.mktemp('camvid') / 'data'
    for split in ('train', 'val'):
        shutil.copytree(CAMVID / split, root / split)
        (root / f'{split}_labels').mkdir()
        for path in (CAMVID / f'{split}_labels').iterdir():
            colors = np.array(Image.open(path).convert('RGB'))
            label = np.full(colors.shape[:2], 255, np.uint8)
            for number, color in enumerate(COLORS.values()):
                label[(colors == color).all(axis=2)] = number
            name = path.name.replace('_L', '')
            Image.fromarray(label).save(root / f'{split}_labels' / name)
    return semantic_patient(root, tuple(COLORS), size=(480, 360))


@pytest.fixture
def frames(_frames, tmp_path):
    return moved(_frames, tmp_path / 'frames')


def test_as_they_are(frames):
    """But for imbalance, which is so in streets."""
    diagnosis = frames.examine()
    assert {f.code for f in diagnosis.findings} == {'class-imbalance'}
    counts = {
        name: len(split.parts[0].samples)
        for name, split in diagnosis.case.splits.items()
    }
    assert counts == {'train': 41, 'val': 17, 'test': 17}


def test_ten_defects_at_once(frames):
    train, val = frames.files('train'), frames.files('val')
    labels = frames.files('train_labels')
    # Copies of frames of the training, far from one another.
    for target, source, change in (
        (val[0], train[4], lambda image: image),
        (val[6], train[20], lambda image: cv2.resize(image, (240, 180))),
        (val[12], train[36], gamma),
    ):
        image = change(cv2.imread(str(source)))
        quality = [cv2.IMWRITE_JPEG_QUALITY, 60]
        data = cv2.imencode('.jpg', image, quality)[1]
        image = cv2.imdecode(data, cv2.IMREAD_COLOR)
        label = frames.label(frames.root / 'train_labels' / source.name)
        size = image.shape[1::-1]
        label = cv2.resize(label, size, interpolation=cv2.INTER_NEAREST)
        cv2.imwrite(str(target), image)
        cv2.imwrite(str(frames.root / 'val_labels' / target.name), label)
    # Labels and images that are wrong, each in another way.
    house = frames.label(labels[0]) == list(COLORS).index('Building')
    Image.fromarray(house.astype(np.uint8) * 255).save(labels[0])
    label = frames.label(labels[1])
    Image.fromarray(label[::2, ::2]).save(labels[1])
    label = frames.label(labels[2])
    Image.fromarray(np.where(label == 255, 255, label + 1)).save(labels[2])
    labels[3].write_bytes(labels[3].read_bytes()[:900])
    labels[5].unlink()
    train[6].write_bytes(train[6].read_bytes()[:90_000])
    gray = cv2.cvtColor(cv2.imread(str(train[7])), cv2.COLOR_BGR2GRAY)
    cv2.imwrite(str(train[7]), gray)

    found = {(f.code, f.file) for f in frames.examine().findings if f.file}
    wanted = {
        *(('near-duplicate', str(val[k])) for k in (0, 6, 12)),
        ('labels-black-white', str(labels[0])),
        ('size-differs', str(labels[1])),
        ('labels-one-based', str(labels[2])),
        ('label-unreadable', str(labels[3])),
        ('label-missing', str(labels[5])),
        ('image-unreadable', str(train[6])),
        ('image-gray', str(train[7])),
    }
    assert found == wanted


def test_swapped_channels(frames):
    frames.change('bgr_to_rgb=True', 'bgr_to_rgb=False')
    codes = {f.code: f.level for f in frames.examine().findings}
    assert codes['channels-swapped'] == Level.WARNING
    assert set(codes) == {'channels-swapped', 'class-imbalance'}


def gamma(image):
    table = np.rint(255 * (np.arange(256) / 255) ** 1.3)
    return cv2.LUT(image, table.astype(np.uint8))


@pytest.mark.skipif(not NAILS.is_dir(), reason=f'no nails in {NAILS}')
def test_nails_as_they_are(tmp_path):
    """The converter's COCO files, and a model that trains on them."""
    shutil.copytree(NAILS, tmp_path / 'nails')
    convert(tmp_path / 'nails', progress=False)
    diagnosis = examine(
        'mask-rcnn_r18_fpn_1xb2-2k_nail-320',
        {'data_root': f'{tmp_path / "nails"}/'},
    )
    assert [(f.code, f.text) for f in diagnosis.findings] == []
    assert [s.parts[0].total for s in diagnosis.case.splits.values()] == [
        *(21, 5, 5)
    ]
