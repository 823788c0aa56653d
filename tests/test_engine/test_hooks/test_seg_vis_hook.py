import errno
import logging
import re
import struct
import warnings
from collections import Counter
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import torch
from mmcv.transforms import Compose, LoadImageFromFile
from mmengine.config import Config
from mmengine.runner import Runner
from mmengine.structures import PixelData
from mmseg.registry import HOOKS
from mmseg.structures import SegDataSample
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import (
    EventAccumulator,
)

from mmseg_ext.engine.hooks import seg_vis_hook
from mmseg_ext.engine.hooks.seg_vis_hook import SegVisHook
from mmseg_ext.visualization.panel import draw_panel, read_style

CLASSES = ('road', 'sky', 'tree', 'car')
PALETTE = [[200, 10, 20], [30, 200, 40], [50, 60, 200], [210, 220, 30]]


class RecordingVisualizer:
    def __init__(self):
        self.images = []

    fails = False

    def add_image(self, name, image, step):
        if self.fails:
            raise ConnectionError('no answer')
        self.images.append((name, image, step))


class DataSet(list):
    """A data set of so many samples."""


def make_runner(
    folder, classes=CLASSES, palette=PALETTE, iteration=500, length=100
):
    dataset = DataSet(range(length))
    dataset.metainfo = {'classes': classes, 'palette': palette}
    loader = SimpleNamespace(dataset=dataset)
    return SimpleNamespace(
        log_dir=str(folder / 'work'),
        iter=iteration,
        val_loop=SimpleNamespace(dataloader=loader),
        val_dataloader=loader,
        test_dataloader=loader,
        visualizer=RecordingVisualizer(),
    )


def make_sample(path, size=(12, 20), seed=0, label=True):
    """Write a random image, and give it random label and prediction."""
    generator = np.random.default_rng(seed)
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), generator.integers(0, 256, (*size, 3), np.uint8))
    sample = SegDataSample(metainfo={'img_path': str(path)})
    prediction = torch.tensor(generator.integers(0, len(CLASSES), size))
    sample.pred_sem_seg = PixelData(data=prediction[None])
    if label:
        values = torch.tensor(generator.integers(0, len(CLASSES), size))
        values[2:5, 3:9] = 255
        sample.gt_sem_seg = PixelData(data=values[None])
    return sample


def validate(hook, runner, batches, mode='val'):
    hook.before_run(runner)
    hook.before_train(runner)
    getattr(hook, f'before_{mode}')(runner)
    for index, batch in enumerate(batches):
        getattr(hook, f'after_{mode}_iter')(
            runner, batch_idx=index, data_batch={}, outputs=batch
        )


def written(folder):
    root = folder / 'work' / 'seg_vis'
    return sorted(
        path.relative_to(root).as_posix()
        for path in root.rglob('*')
        if path.is_file()
    )


@pytest.mark.parametrize(
    ('name', 'shown'),
    [
        pytest.param('a\nb c', 'a_b_c', id='signs'),
        pytest.param('\udcd6\udcd0', '__', id='no UTF-8'),
        pytest.param('n' * 251, 'n' * 200, id='long'),
        pytest.param('手' * 83, '手' * 66, id='long in bytes'),
    ],
)
def test_images_of_any_name(tmp_path, name, shown):
    runner = make_runner(tmp_path)
    sample = make_sample(tmp_path / 'x.png')
    path = (tmp_path / 'x.png').rename(tmp_path / f'{name}.png')
    sample.set_metainfo({'img_path': str(path)})
    validate(SegVisHook(), runner, [[sample]])
    assert written(tmp_path)[0] == f'val_iter_000500/00000_{shown}/image.png'
    [(panel, _, _)] = runner.visualizer.images
    assert panel == f'seg_vis_val_00000_{shown}'


def paint(values, ignored):
    """Color a map pixel by pixel, RGB."""
    values = values.squeeze().numpy()
    picture = np.empty((*values.shape, 3), np.uint8)
    for row, column in np.ndindex(values.shape):
        value = values[row, column]
        known = 0 <= value < len(CLASSES)
        picture[row, column] = PALETTE[value] if known else ignored
    return picture


def test_files_of_a_sample(tmp_path):
    runner = make_runner(tmp_path)
    sample = make_sample(tmp_path / 'data' / 'street.png')
    validate(SegVisHook(), runner, [[sample]])

    folder = 'val_iter_000500/00000_street'
    assert written(tmp_path) == [
        f'{folder}/{name}.png'
        for name in ('image', 'label', 'panel', 'prediction')
    ]
    root = tmp_path / 'work' / 'seg_vis' / folder
    image = cv2.imread(str(tmp_path / 'data' / 'street.png'))
    assert np.array_equal(cv2.imread(str(root / 'image.png')), image)
    for name, data in (
        ('label', sample.gt_sem_seg.data),
        ('prediction', sample.pred_sem_seg.data),
    ):
        file = Image.open(root / f'{name}.png')
        assert np.array_equal(np.asarray(file), data[0].numpy())
        expected = paint(data, ignored=(0, 0, 0))
        assert np.array_equal(np.asarray(file.convert('RGB')), expected)
        colors = cv2.imread(str(root / f'{name}.png'))[..., ::-1]
        assert np.array_equal(colors, expected)

    ((name, panel, step),) = runner.visualizer.images
    assert (name, step) == ('seg_vis_val_00000_street', 500)
    assert np.array_equal(
        cv2.imread(str(root / 'panel.png'))[..., ::-1], panel
    )
    maps = {
        'label': sample.gt_sem_seg.data[0].numpy().astype(np.uint8),
        'prediction': sample.pred_sem_seg.data[0].numpy().astype(np.uint8),
    }
    style = read_style(runner.val_dataloader.dataset)
    image = np.ascontiguousarray(image[..., ::-1])
    drawn = draw_panel('street.png', image, maps, style, 'iteration 500')
    assert np.array_equal(panel, drawn)


def test_no_label_no_label_file(tmp_path):
    runner = make_runner(tmp_path)
    sample = make_sample(tmp_path / 'a.png', size=(330, 400), label=False)
    validate(SegVisHook(), runner, [[sample]], mode='test')
    assert written(tmp_path) == [
        f'test/00000_a/{name}.png' for name in ('image', 'panel', 'prediction')
    ]
    ((name, panel, _),) = runner.visualizer.images
    assert name == 'seg_vis_test_00000_a'
    assert 2 * 400 < panel.shape[1] < 3 * 400


def test_binary_prediction_of_floats(tmp_path):
    """MMSeg's models with one output channel predict 0.0 and 1.0."""
    sample = make_sample(tmp_path / 'a.png')
    values = torch.arange(12 * 20).reshape(1, 12, 20) % 2
    sample.pred_sem_seg = PixelData(data=values.float())
    validate(SegVisHook(), make_runner(tmp_path), [[sample]])
    root = tmp_path / 'work/seg_vis/val_iter_000500/00000_a'
    indices = np.asarray(Image.open(root / 'prediction.png'))
    assert np.array_equal(indices, values[0])


def test_every_sample_has_a_folder_of_its_own(tmp_path, monkeypatch):
    """Same names, several in a batch, two processes, two validations."""
    batches = [
        [
            make_sample(tmp_path / f'{batch}{item}' / 'same.png', seed=item)
            for item in range(2)
        ]
        for batch in range(3)
    ]
    monkeypatch.setattr(seg_vis_hook, 'get_world_size', lambda: 2)
    for rank in range(2):
        monkeypatch.setattr(seg_vis_hook, 'get_rank', lambda rank=rank: rank)
        hook = SegVisHook(vis_num=2)
        runner = make_runner(tmp_path)
        validate(hook, runner, batches)
        validate(hook, runner, batches)
        runner.iter = 1000
        validate(hook, runner, batches)
        validate(hook, runner, batches, mode='test')
        assert len({image[::2] for image in runner.visualizer.images}) == 12

    folders = Counter(name.rsplit('/', 1)[0] for name in written(tmp_path))
    assert sorted(folders) == sorted(
        f'{stage}/{number:05d}_same'
        for stage in (
            'val_iter_000500',
            'val_iter_000500_2',
            'val_iter_001000',
            'test',
        )
        for number in range(8)
    )
    assert set(folders.values()) == {4}


def test_numbers_are_positions_in_the_data_set(tmp_path, monkeypatch):
    """MMEngine's sampler deals images out to the processes in turn."""
    monkeypatch.setattr(seg_vis_hook, 'get_world_size', lambda: 3)
    for rank in range(3):
        monkeypatch.setattr(seg_vis_hook, 'get_rank', lambda rank=rank: rank)
        mine = [make_sample(tmp_path / f'{n}.png') for n in range(rank, 6, 3)]
        validate(SegVisHook(), make_runner(tmp_path), [mine])
    folders = {name.split('/')[1] for name in written(tmp_path)}
    assert folders == {f'{n:05d}_{n}' for n in range(6)}


def test_samples_that_fill_the_last_round_are_left_out(tmp_path, monkeypatch):
    """MMEngine's sampler gives five images to three processes, two each."""
    monkeypatch.setattr(seg_vis_hook, 'get_world_size', lambda: 3)
    for rank, names in enumerate([(0, 3), (1, 4), (2, 0)]):
        monkeypatch.setattr(seg_vis_hook, 'get_rank', lambda rank=rank: rank)
        mine = [[make_sample(tmp_path / f'{name}.png')] for name in names]
        runner = make_runner(tmp_path, length=5)
        validate(SegVisHook(vis_num=2), runner, mine)
    folders = {name.split('/')[1] for name in written(tmp_path)}
    assert folders == {f'{n:05d}_{n}' for n in range(5)}


@pytest.mark.parametrize('vis_num', [0, 1, 3])
def test_batches_after_the_first_are_not_touched(tmp_path, vis_num):
    batches = [[make_sample(tmp_path / f'{n}.png')] for n in range(vis_num)]
    validate(
        SegVisHook(vis_num=vis_num),
        make_runner(tmp_path),
        [*batches, None, None],
    )
    assert len(written(tmp_path)) == 4 * vis_num


def test_names_stay_inside_the_folder(tmp_path):
    path = tmp_path / 'a b#%&ö.png'
    validate(SegVisHook(), make_runner(tmp_path), [[make_sample(path)]])
    assert written(tmp_path)[0].split('/')[1] == '00000_a_b___ö'


# Errors


@pytest.mark.parametrize('vis_num', [-1, 1.0, '1', True, None])
def test_wrong_vis_num(vis_num):
    with pytest.raises(ValueError, match=f'0 or above, got {vis_num!r}'):
        SegVisHook(vis_num=vis_num)


def test_metainfo_is_checked_before_the_first_batch(tmp_path):
    runner = make_runner(tmp_path, palette=PALETTE[:3])
    with pytest.raises(ValueError, match='DataSet, got 4 and 3'):
        validate(SegVisHook(), runner, [])


def test_metainfo_is_checked_before_training(tmp_path):
    runner = make_runner(tmp_path, palette=PALETTE[:3])
    with pytest.raises(ValueError, match='DataSet, got 4 and 3'):
        SegVisHook().before_train(runner)
    SegVisHook(vis_num=0).before_train(runner)
    runner.val_loop = None  # nothing is validated
    SegVisHook().before_train(runner)


# Faults that must not end a run


def spoil_image(sample, path):
    path.write_bytes(path.read_bytes()[:20])


def store_nine_channels(sample, path):
    """Write an uncompressed TIFF 6.0 file; Pillow has no such mode."""
    data = bytes(12 * 20 * 9)
    bits = struct.pack('<9H', *[8] * 9)
    start = 8 + len(data)
    tags = [
        *((256, 1, 20), (257, 1, 12), (258, 9, start), (259, 1, 1)),
        *((262, 1, 1), (273, 1, 8), (277, 1, 9), (278, 1, 12)),
        *((279, 1, len(data)), (284, 1, 1)),
    ]
    entries = [struct.pack('<2H2I', tag, 3, *value) for tag, *value in tags]
    path.write_bytes(
        b''.join(
            [
                *(b'II*\0', struct.pack('<I', start + len(bits)), data, bits),
                *(struct.pack('<H', len(tags)), *entries, bytes(4)),
            ]
        )
    )


def remove_image(sample, path):
    path.unlink()


def forget_path(sample, path):
    del sample.img_path


def shrink_label(sample, path):
    values = torch.zeros(1, 6, 10, dtype=torch.long)
    sample.gt_sem_seg = PixelData(data=values)


def give_color_label(sample, path):
    values = torch.zeros(12, 20, 3, dtype=torch.long)
    sample.gt_sem_seg = PixelData(data=values)


def predict_halves(sample, path):
    sample.pred_sem_seg = PixelData(data=torch.full((1, 12, 20), 1.5))


def forget_prediction(sample, path):
    del sample.pred_sem_seg


FAULTS = [
    (spoil_image, r'a\.png could not be read: ValueError: .*20 bytes'),
    (store_nine_channels, r'a\.png could not be read: .*color image'),
    (remove_image, r'could not be read: FileNotFoundError: .*a\.png'),
    (
        forget_path,
        'a sample without img_path could not be read: .*add it to '
        "PackSegInputs' meta_keys",
    ),
    (shrink_label, r'a\.png could not be drawn: .*label is 10x6 .* 20x12'),
    (give_color_label, r'a\.png could not be drawn: .*\(12, 20, 3\)'),
    (predict_halves, r'a\.png could not be drawn: .*value 1\.5'),
    (forget_prediction, r'a\.png could not be drawn: .*pred_sem_seg'),
]


@pytest.mark.parametrize(('change', 'message'), FAULTS)
def test_faulty_sample_is_left_out(tmp_path, mmlog, change, message):
    """The others are written, and the warning comes once a run."""
    samples = [make_sample(tmp_path / name) for name in ('a.png', 'b.png')]
    change(samples[0], tmp_path / 'a.png')
    runner = make_runner(tmp_path)
    hook = SegVisHook(vis_num=2)
    for _ in range(2):
        validate(hook, runner, [[samples[0], samples[1]], [samples[0]]])
    folders = {name.rsplit('/', 1)[0] for name in written(tmp_path)}
    stages = ('val_iter_000500', 'val_iter_000500_2')
    assert folders == {f'{stage}/00001_b' for stage in stages}
    assert len(runner.visualizer.images) == 2
    # Pillow logs that it cannot read nine channels.
    ((_, level, text),) = (
        entry for entry in mmlog.record_tuples if 'PIL' not in entry[0]
    )
    assert level == logging.WARNING
    assert re.search(message, text)
    assert '\n' not in text


def test_full_disk_leaves_no_half_of_a_folder(tmp_path, mmlog, monkeypatch):
    def write_png(path, image):
        if path.name == 'panel.png' and path.parent.name == '00000_a':
            raise OSError(errno.ENOSPC, 'No space left on device', str(path))
        write(path, image)

    write = seg_vis_hook.write_png
    monkeypatch.setattr(seg_vis_hook, 'write_png', write_png)
    samples = [make_sample(tmp_path / name) for name in ('a.png', 'b.png')]
    validate(SegVisHook(), make_runner(tmp_path), [samples])
    stage = tmp_path / 'work' / 'seg_vis' / 'val_iter_000500'
    assert [path.name for path in stage.iterdir()] == ['00001_b']
    assert len(written(tmp_path)) == 4
    assert re.search(
        r'a\.png could not be written: OSError: .*No space.*panel\.png',
        mmlog.text,
    )


def test_folder_that_cannot_be_made(tmp_path, mmlog):
    (tmp_path / 'work').mkdir()
    (tmp_path / 'work' / 'seg_vis').write_text('in the way')
    runner = make_runner(tmp_path)
    validate(SegVisHook(), runner, [[make_sample(tmp_path / 'a.png')]])
    assert re.search(r'a\.png could not be written: .*seg_vis', mmlog.text)
    assert runner.visualizer.images == []


def test_visualizer_that_fails(tmp_path, mmlog):
    """The files are there all the same."""
    runner = make_runner(tmp_path)
    runner.visualizer.fails = True
    samples = [make_sample(tmp_path / name) for name in ('a.png', 'b.png')]
    validate(SegVisHook(), runner, [samples])
    assert len(written(tmp_path)) == 8
    (record,) = mmlog.records
    assert re.search(
        r'a\.png could not be sent to the visualizer: ConnectionError: no '
        'answer. .*vis_backends',
        record.getMessage(),
    )


def test_each_kind_of_fault_is_said(tmp_path, mmlog):
    samples = [make_sample(tmp_path / f'{n}.png') for n in 'abc']
    remove_image(samples[0], tmp_path / 'a.png')
    shrink_label(samples[1], tmp_path / 'b.png')
    remove_image(samples[2], tmp_path / 'c.png')
    validate(SegVisHook(), make_runner(tmp_path), [samples])
    texts = [record.getMessage() for record in mmlog.records]
    assert len(texts) == 2
    assert 'a.png could not be read' in texts[0]
    assert 'b.png could not be drawn' in texts[1]


def test_fault_in_another_process_is_seen(tmp_path, mmlog, monkeypatch):
    """There mmengine's logger shows errors alone."""
    monkeypatch.setattr(seg_vis_hook, 'get_world_size', lambda: 2)
    monkeypatch.setattr(seg_vis_hook, 'get_rank', lambda: 1)
    sample = make_sample(tmp_path / 'a.png')
    remove_image(sample, tmp_path / 'a.png')
    validate(SegVisHook(), make_runner(tmp_path), [[sample]])
    assert [record.levelno for record in mmlog.records] == [logging.ERROR]


def test_stop_of_the_run_is_no_fault(tmp_path, monkeypatch):
    def write_png(path, image):
        write(path, image)
        raise KeyboardInterrupt

    write = seg_vis_hook.write_png
    monkeypatch.setattr(seg_vis_hook, 'write_png', write_png)
    sample = make_sample(tmp_path / 'a.png')
    with pytest.raises(KeyboardInterrupt):
        validate(SegVisHook(), make_runner(tmp_path), [[sample]])
    assert written(tmp_path) == []


# Images that EXIF turns

#: Turns by a quarter to the left, by EXIF's orientation. Source: TIFF 6.0.
QUARTERS = {3: 2, 6: 3, 8: 1}


@pytest.mark.parametrize('orientation', QUARTERS)
@pytest.mark.parametrize(
    ('options', 'turned'),
    [
        pytest.param({}, True, id='as usual'),
        pytest.param(
            {'color_type': 'color_ignore_orientation'}, False, id='ignored'
        ),
        pytest.param({'color_type': 'unchanged'}, False, id='unchanged'),
        pytest.param({'imdecode_backend': 'pillow'}, True, id='pillow'),
    ],
)
@pytest.mark.parametrize('size', [(16, 32), (32, 32)], ids=['wide', 'square'])
def test_image_is_shown_as_the_loader_read_it(
    tmp_path, mmlog, orientation, options, turned, size
):
    loader = LoadImageFromFile(**options)
    runner = make_runner(tmp_path)
    runner.val_dataloader.dataset.pipeline = Compose([loader])
    stored = store_turned(tmp_path / 'a.jpg', size, orientation)
    read = loader({'img_path': str(tmp_path / 'a.jpg')})['img']
    expected = np.rot90(stored, QUARTERS[orientation]) if turned else stored
    assert np.abs(read[..., 0] - expected.astype(float)).max() < 9

    assert shown(tmp_path, runner, expected)
    assert mmlog.records == []


@pytest.mark.parametrize('turned', [False, True])
def test_size_tells_where_the_loader_does_not(tmp_path, turned):
    """As where the data set is wrapped in others."""
    stored = store_turned(tmp_path / 'a.jpg', (16, 32), orientation=6)
    expected = np.rot90(stored, QUARTERS[6]) if turned else stored
    assert shown(tmp_path, make_runner(tmp_path), expected)


def store_turned(path, size, orientation):
    """Store four gray areas, and return them as they are stored."""
    stored = np.zeros(size, np.uint8)
    stored[:8] += 60
    stored[:, :8] += 120
    exif = Image.Exif()
    exif[0x0112] = orientation
    image = Image.fromarray(stored).convert('RGB')
    image.save(path, exif=exif, quality=95)
    return stored


def shown(tmp_path, runner, expected):
    """Return whether the hook writes this image, but for JPEG's losses."""
    sample = SegDataSample(metainfo={'img_path': str(tmp_path / 'a.jpg')})
    label = torch.zeros(1, *expected.shape, dtype=torch.long)
    sample.pred_sem_seg = PixelData(data=label)
    sample.gt_sem_seg = PixelData(data=label)
    validate(SegVisHook(), runner, [[sample]])
    file = tmp_path / 'work/seg_vis/val_iter_000500/00000_a/image.png'
    image = np.asarray(Image.open(file)).astype(float)
    return (np.abs(image - expected[..., None]) < 9).all()


# With MMSeg


@pytest.fixture
def config(tmp_path):
    """A tiny segmentor, trained for two steps and validated after each."""
    generator = np.random.default_rng(0)
    for folder in ('first', 'second'):
        for kind in ('images', 'labels'):
            (tmp_path / 'data' / kind / folder).mkdir(parents=True)
        image = generator.integers(0, 256, (40, 56, 3), np.uint8)
        label = generator.integers(0, len(CLASSES), (40, 56), np.uint8)
        label[:7] = 255
        for kind, values in (('images', image), ('labels', label)):
            path = tmp_path / 'data' / kind / folder / 'scene.png'
            cv2.imwrite(str(path), values)

    norm = dict(type='BN')
    pipeline = [
        dict(type='LoadImageFromFile'),
        dict(type='Resize', scale=(64, 48)),
        dict(type='LoadAnnotations'),
        dict(type='PackSegInputs'),
    ]
    train_pipeline = [pipeline[0], pipeline[2], pipeline[1], pipeline[3]]

    def loader(pipeline, shuffle=False):
        return dict(
            batch_size=2,
            num_workers=0,
            sampler=dict(type='DefaultSampler', shuffle=shuffle),
            dataset=dict(
                type='BaseSegDataset',
                metainfo=dict(classes=CLASSES, palette=PALETTE),
                data_root=str(tmp_path / 'data'),
                data_prefix=dict(img_path='images', seg_map_path='labels'),
                img_suffix='.png',
                pipeline=pipeline,
            ),
        )

    return dict(
        default_scope='mmseg',
        work_dir=str(tmp_path / 'work_dir'),
        model=dict(
            type='EncoderDecoder',
            data_preprocessor=dict(type='SegDataPreProcessor', size=(48, 64)),
            backbone=dict(
                type='ResNetV1c', depth=18, base_channels=4, norm_cfg=norm
            ),
            decode_head=dict(
                type='FCNHead',
                in_channels=32,
                channels=4,
                num_classes=len(CLASSES),
                norm_cfg=norm,
                loss_decode=dict(type='CrossEntropyLoss', avg_non_ignore=True),
            ),
            test_cfg=dict(mode='whole'),
        ),
        train_dataloader=loader(train_pipeline, shuffle=True),
        val_dataloader=loader(pipeline),
        test_dataloader=loader([pipeline[0], pipeline[1], pipeline[3]]),
        optim_wrapper=dict(optimizer=dict(type='SGD', lr=0.01)),
        train_cfg=dict(by_epoch=False, max_iters=2, val_interval=1),
        val_cfg=dict(),
        test_cfg=dict(),
        val_evaluator=dict(type='IoUMetric'),
        test_evaluator=dict(
            type='IoUMetric', format_only=True, output_dir=str(tmp_path / 'p')
        ),
        custom_hooks=[dict(type='SegVisHook')],
        visualizer=dict(
            type='SegLocalVisualizer',
            vis_backends=[
                dict(type='LocalVisBackend'),
                dict(type='TensorboardVisBackend'),
            ],
        ),
        randomness=dict(seed=0),
        experiment_name=tmp_path.name,
    )


def test_training_validation_and_test_with_mmseg(config, tmp_path):
    assert HOOKS.get('SegVisHook') is SegVisHook
    runner = Runner.from_cfg(Config(config))
    runner.train()
    runner.test()

    (root,) = (tmp_path / 'work_dir').glob('*/seg_vis')
    files = {
        path.relative_to(root).as_posix()
        for path in root.rglob('*')
        if path.is_file()
    }
    assert files == {
        f'{stage}/{number:05d}_scene/{name}.png'
        for stage, names in (
            ('val_iter_000001', ('image', 'label', 'prediction', 'panel')),
            ('val_iter_000002', ('image', 'label', 'prediction', 'panel')),
            ('test', ('image', 'prediction', 'panel')),
        )
        for number in range(2)
        for name in names
    }
    # The model has not changed since its last validation. The same batch: in
    # another, sums may round differently and turn a tie.
    (batch,) = runner.val_dataloader
    with torch.no_grad():
        results = runner.model.val_step(batch)
    for number, folder in enumerate(('first', 'second')):
        shown = root / 'val_iter_000002' / f'{number:05d}_scene'
        for name, kind in (('image', 'images'), ('label', 'labels')):
            data = tmp_path / 'data' / kind / folder / 'scene.png'
            assert np.array_equal(
                np.asarray(Image.open(shown / f'{name}.png')),
                np.asarray(Image.open(data)),
            )
        assert np.array_equal(
            np.asarray(Image.open(shown / 'prediction.png')),
            results[number].pred_sem_seg.data[0].numpy(),
        )

    data = root.parent / 'vis_data'
    for step in (1, 2):
        for number in range(2):
            name = f'{number:05d}_scene'
            stored = data / 'vis_image' / f'seg_vis_val_{name}_{step}.png'
            panel = root / f'val_iter_{step:06d}' / name / 'panel.png'
            assert np.array_equal(
                cv2.imread(str(stored)), cv2.imread(str(panel))
            )
    runner.visualizer.close()
    events = EventAccumulator(str(data))
    events.Reload()
    images = events.Images('seg_vis_val_00001_scene')
    assert [image.step for image in images] == [1, 2]
    sent = cv2.imdecode(
        np.frombuffer(images[1].encoded_image_string, np.uint8),
        cv2.IMREAD_COLOR,
    )
    panel = root / 'val_iter_000002' / '00001_scene' / 'panel.png'
    assert np.array_equal(sent, cv2.imread(str(panel)))


@pytest.mark.parametrize('mode', ['val', 'test'])
def test_training_data_need_not_be_there(config, tmp_path, mode):
    config['train_dataloader']['dataset']['data_root'] = str(tmp_path / 'no')
    config['experiment_name'] += mode
    runner = Runner.from_cfg(Config(config))
    getattr(runner, mode)()
    stage = {'val': 'val_iter_000000', 'test': 'test'}[mode]
    panels = tmp_path.glob(f'work_dir/*/seg_vis/{stage}/*/panel.png')
    assert len(list(panels)) == 2


def test_default_does_not_warn():
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        SegVisHook()
