import functools
import logging
import random
import re
from types import SimpleNamespace

import cv2
import mmdet.registry
import mmseg.registry
import numpy as np
import pytest
import torch
from mmdet.models.data_preprocessors import DetDataPreprocessor
from mmdet.structures import DetDataSample
from mmdet.structures.bbox import HorizontalBoxes
from mmdet.structures.mask import BitmapMasks, PolygonMasks
from mmengine.model import BaseModel
from mmengine.structures import InstanceData, PixelData
from mmseg.models import SegDataPreProcessor
from mmseg.structures import SegDataSample
from PIL import ImageDraw

from mmseg_ext.engine.hooks import FirstBatchHook, first_batch_hook

CLASSES = ('road', 'sky', 'tree')
PALETTE = [[200, 10, 20], [30, 200, 40], [50, 60, 200]]
RGB = {'mean': [120.0, 110.0, 100.0], 'std': [50.0, 60.0, 70.0]}
BGR = {key: values[::-1] for key, values in RGB.items()}

#: Where the first of two images of 80x64 pixels begins: below two margins of
#: 15, two titles and a caption of 22 each; and how much they are enlarged.
LEFT, TOP, SCALE = 15, 15 + 2 * 22 + 15 + 22, 4


class Model(BaseModel):
    def forward(self, inputs, data_samples=None, mode='tensor'):
        self.seen = inputs, data_samples
        return {'loss': inputs.mean() * self.weight}

    def __init__(self, preprocessor):
        super().__init__(preprocessor)
        self.weight = torch.nn.Parameter(torch.ones(1))


def make_images(sizes=((64, 80), (48, 80)), seed=0):
    """Return random images, RGB."""
    generator = np.random.default_rng(seed)
    return [generator.integers(0, 256, (*s, 3), np.uint8) for s in sizes]


def make_batch(images, samples):
    """Return what a data loader gives: images as BGR, (3, H, W)."""
    inputs = [
        torch.from_numpy(image[..., ::-1].transpose(2, 0, 1).copy())
        for image in images
    ]
    for number, (sample, image) in enumerate(
        zip(samples, images, strict=True)
    ):
        sample.set_metainfo(
            {'img_path': f'/x/{number}.png', 'img_shape': image.shape[:2]}
        )
    return {'inputs': inputs, 'data_samples': samples}


def make_runner(folder, preprocessor, classes=CLASSES, palette=PALETTE):
    metainfo = {'classes': classes, 'palette': palette}
    dataset = SimpleNamespace(metainfo=metainfo)
    return SimpleNamespace(
        log_dir=str(folder),
        iter=0,
        model=Model(preprocessor),
        train_dataloader=SimpleNamespace(dataset=dataset),
        logger=logging.getLogger('first_batch'),
    )


def train(hook, runner, *batches):
    """Do what mmengine's loop does, but for the optimizer."""
    hook.before_train(runner)
    for number, batch in enumerate(batches):
        hook.before_train_iter(runner, number, batch)
        data = runner.model.data_preprocessor(batch, True)
        runner.model(**data, mode='loss')
        hook.after_train_iter(runner, number, batch, {})
        runner.iter += 1


def pixels_of(folder, number=0):
    """Return a pixel of the sheet for each of an image of the batch, RGB."""
    sheet = cv2.imread(str(folder / 'first_batch.png'))[..., ::-1]
    left = LEFT + number * (SCALE * 80 + 15)
    shown = sheet[TOP : TOP + SCALE * 64, left : left + SCALE * 80]
    return shown[::SCALE, ::SCALE].astype(float)


SEGMENTATION = functools.partial(SegDataPreProcessor, size=(64, 80))
DETECTION = DetDataPreprocessor


def test_both_scopes_know_it():
    for registry in (mmseg.registry.HOOKS, mmdet.registry.HOOKS):
        assert registry.get('FirstBatchHook') is FirstBatchHook


@pytest.mark.parametrize(
    'preprocessor',
    [
        pytest.param(lambda: SEGMENTATION(bgr_to_rgb=True, **RGB), id='seg'),
        pytest.param(lambda: SEGMENTATION(**BGR), id='seg, BGR'),
        pytest.param(lambda: SEGMENTATION(), id='seg, as it is'),
        pytest.param(lambda: DETECTION(bgr_to_rgb=True, **RGB), id='det'),
        pytest.param(lambda: DETECTION(**BGR), id='det, BGR'),
    ],
)
def test_images_are_those_of_the_loader(tmp_path, preprocessor):
    preprocessor = preprocessor()
    images = make_images([(64, 80)] * 2)
    kind = (
        SegDataSample
        if isinstance(preprocessor, SegDataPreProcessor)
        else DetDataSample
    )
    batch = make_batch(images, [kind(), kind()])
    train(FirstBatchHook(), make_runner(tmp_path, preprocessor), batch)
    for number, image in enumerate(images):
        assert np.array_equal(pixels_of(tmp_path, number), image)


def test_labels_lie_over_images(tmp_path, texts):
    images = make_images()
    labels = [torch.zeros(1, *image.shape[:2]).long() for image in images]
    labels[0][:, 32:] = 2
    labels[1][:, :, 40:] = 255
    samples = [
        SegDataSample(gt_sem_seg=PixelData(data=label)) for label in labels
    ]
    preprocessor = SEGMENTATION(bgr_to_rgb=True, **RGB)
    batch = make_batch(images, samples)
    train(FirstBatchHook(), make_runner(tmp_path, preprocessor), batch)

    first, second = pixels_of(tmp_path), pixels_of(tmp_path, 1)
    for rows, color in ((slice(32), PALETTE[0]), (slice(32, 64), PALETTE[2])):
        expected = 0.45 * images[0][rows] + 0.55 * np.array(color)
        assert np.abs(first[rows] - expected).max() <= 1
    expected = 0.45 * images[1][:, :40] + 0.55 * np.array(PALETTE[0])
    assert np.abs(second[:48, :40] - expected).max() <= 1
    # Squares of two grays lie over what is ignored, and over the padding,
    # which the model gets as zero, the mean color; a white line between them.
    assert (second[48, :40] == 255).all()
    squares = np.unique(second[50:, :].reshape(-1, 3), axis=0)
    for color, gray in zip(squares, (144, 236), strict=True):
        assert np.allclose(
            color, 0.45 * np.array(RGB['mean']) + 0.55 * gray, atol=1
        )
    assert texts[0] == (
        'first training batch, iteration 1: 2 of 2 images of 80x64'
    )
    # Of 2 * 64 * 80 pixels.
    assert texts[4:] == [
        'share of the pixels, number of images:',
        f'road {100 * (32 * 80 + 48 * 40) / 10240:.1f} % in 2',
        'tree 25.0 % in 1',
        f'ignored {100 * (48 * 40 + 16 * 80) / 10240:.1f} % in 1',
    ]


@pytest.fixture
def texts(monkeypatch):
    """Collect what is written into pictures."""
    found = []
    draw_text = ImageDraw.ImageDraw.text

    def text(self, position, value, *args, **options):
        found.append(value)
        return draw_text(self, position, value, *args, **options)

    monkeypatch.setattr(ImageDraw.ImageDraw, 'text', text)
    return found


def make_instances(kind, size=(64, 80)):
    """A square with a mask of its left half, and one without a mask's rest."""
    boxes = torch.tensor([[10.0, 8, 30, 28], [40, 30, 60, 50]])
    masks = np.zeros((2, *size), np.uint8)
    masks[0, 8:28, 10:20] = 1
    masks[1, 30:50, 40:60] = 1
    polygons = [
        [np.array([x0, y0, x1, y0, x1, y1, x0, y1], float)]
        for x0, y0, x1, y1 in ((10, 8, 20, 28), (40, 30, 60, 50))
    ]
    sample = DetDataSample(
        gt_instances=InstanceData(
            bboxes=HorizontalBoxes(boxes) if kind == 'polygons' else boxes,
            labels=torch.tensor([0, 2]),
            masks=PolygonMasks(polygons, *size)
            if kind == 'polygons'
            else BitmapMasks(masks, *size),
        ),
        ignored_instances=InstanceData(
            bboxes=torch.tensor([[70.0, 2, 78, 10]]), labels=torch.tensor([1])
        ),
    )
    return sample, masks


@pytest.mark.parametrize('kind', ['bitmaps', 'polygons'])
def test_boxes_masks_and_names(tmp_path, texts, kind):
    images = make_images([(64, 80)] * 2)
    sample, masks = make_instances(kind)
    batch = make_batch(images, [sample, DetDataSample()])
    train(FirstBatchHook(), make_runner(tmp_path, DETECTION(**BGR)), batch)
    shown = pixels_of(tmp_path)
    for mask, color in zip(masks, (PALETTE[0], PALETTE[2]), strict=True):
        inner = cv2.erode(mask, np.ones((5, 5))) > 0
        inner[8:14] = inner[30:36] = False  # the names
        expected = 0.55 * images[0][inner] + 0.45 * np.array(color)
        assert np.abs(shown[inner] - expected).max() <= 2
    outside = cv2.dilate(masks.max(0), np.ones((5, 5))) == 0
    outside[:40, 8:] = False  # boxes and names
    assert np.array_equal(shown[outside], images[0][outside])
    for x, y, color in ((20, 28, 0), (60, 40, 2)):
        assert shown[y, x].tolist() == PALETTE[color]
    assert shown[6, 70].tolist() == [150] * 3
    assert np.array_equal(pixels_of(tmp_path, 1), images[1])
    assert texts[:2] == ['road', 'tree']  # at the boxes
    assert texts[4:] == [
        *('0.png: 3', '1.png: 0'),
        *('instances:', 'road 1', 'tree 1', 'ignored 1'),
    ]


def test_one_class_has_a_color_for_each_instance(tmp_path, texts):
    images = make_images([(64, 80)] * 2)
    sample, _ = make_instances('bitmaps')
    sample.gt_instances.labels[:] = 0
    del sample.ignored_instances
    batch = make_batch(images, [sample, DetDataSample()])
    runner = make_runner(tmp_path, DETECTION(), ('nail',), None)
    train(FirstBatchHook(), runner, batch)
    shown = pixels_of(tmp_path)
    assert shown[28, 20].tolist() != shown[40, 60].tolist()
    assert 'nail' not in texts
    assert 'nail 2' in texts


def random_states():
    return (
        random.getstate(),
        str(np.random.get_state()),
        torch.get_rng_state().tolist(),
    )


def test_nothing_changes_but_the_picture(tmp_path):
    batches = []
    for _ in range(2):
        label = PixelData(data=torch.ones(1, 64, 80).long())
        samples = [SegDataSample(gt_sem_seg=label) for _ in range(2)]
        batches.append(make_batch(make_images([(64, 80)] * 2), samples))
    runner = make_runner(tmp_path / 'a', SEGMENTATION(**BGR))
    plain = make_runner(tmp_path / 'b', SEGMENTATION(**BGR))
    before = random_states()
    train(FirstBatchHook(), runner, batches[0])
    assert random_states() == before
    train(FirstBatchHook(max_images=0), plain, batches[1])
    inputs, samples = runner.model.seen
    assert torch.equal(inputs, plain.model.seen[0])
    for sample in samples:
        assert (sample.gt_sem_seg.data == 1).all()
    assert (tmp_path / 'a' / 'first_batch.png').is_file()
    assert not (tmp_path / 'b').exists()
    # Nothing is left that would slow later iterations down.
    assert not runner.model.data_preprocessor._forward_hooks


def test_the_first_batch_alone_also_of_a_resumed_run(tmp_path, texts):
    samples = [SegDataSample(), SegDataSample()]
    images = make_images([(64, 80)] * 2)
    other = make_images([(64, 80)] * 2, seed=1)
    runner = make_runner(tmp_path, SEGMENTATION())
    runner.iter = 200
    train(
        FirstBatchHook(),
        runner,
        make_batch(images, samples),
        make_batch(other, samples),
    )
    assert np.array_equal(pixels_of(tmp_path), images[0])
    assert 'iteration 201: 2 of 2 images' in texts[0]
    assert len([text for text in texts if 'iteration' in text]) == 1


def test_so_many_images_at_most(tmp_path, texts):
    images = make_images([(64, 80)] * 5)
    batch = make_batch(images, [SegDataSample() for _ in images])
    runner = make_runner(tmp_path, SEGMENTATION())
    train(FirstBatchHook(max_images=2), runner, batch)
    assert np.array_equal(pixels_of(tmp_path, 1), images[1])
    assert '2 of 5 images' in texts[0]
    assert not {'2.png', '3.png', '4.png'} & {*texts}


def test_only_the_first_process_draws(tmp_path, monkeypatch):
    monkeypatch.setattr(first_batch_hook, 'is_main_process', lambda: False)
    batch = make_batch(make_images([(64, 80)]), [SegDataSample()])
    train(FirstBatchHook(), make_runner(tmp_path, SEGMENTATION()), batch)
    assert not (tmp_path / 'first_batch.png').exists()


def spoil_channels(batch, folder):
    batch['inputs'] = [torch.zeros(9, 64, 80)]


def spoil_label(batch, folder):
    label = PixelData(data=torch.full((1, 64, 80), 0.5))
    batch['data_samples'][0].gt_sem_seg = label


def spoil_folder(batch, folder):
    folder.write_text('in the way')


@pytest.mark.parametrize(
    ('spoil', 'message'),
    [
        (spoil_channels, 'ValueError: an input of 9 channels'),
        (spoil_label, 'ValueError: a map with the value 0.5'),
        (spoil_folder, 'Error: .*log'),
    ],
)
def test_what_fails_is_a_warning(tmp_path, caplog, spoil, message):
    batch = make_batch(make_images([(64, 80)]), [SegDataSample()])
    spoil(batch, tmp_path / 'log')
    runner = make_runner(tmp_path / 'log', SEGMENTATION())
    train(FirstBatchHook(), runner, batch)
    assert runner.model.seen  # the iteration was done
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert caplog.text.count('\n') == 1
    assert 'the first batch could not be drawn' in caplog.text
    assert not runner.model.data_preprocessor._forward_hooks
    assert re.search(message, caplog.text)


@pytest.mark.parametrize('max_images', [-1, 1.0, '1', True, None])
def test_wrong_number(max_images):
    with pytest.raises(ValueError, match=f'above, got {max_images!r}'):
        FirstBatchHook(max_images=max_images)
