"""Two processes on a machine without GPU, started for real."""

import json
import os
import socket
from collections import Counter
from itertools import product
from pathlib import Path
from typing import NamedTuple

import pytest
import torch
from mmengine.config import Config
from mmengine.fileio import load

from helpers.configs import load_small
from helpers.jobs import MPIRUN, SRUN, TORCHRUN, run_job, write_stand_ins
from mmseg_ext.converters import nails
from mmseg_ext.sample_data import write_camvid, write_nails
from test_tools.tiny_runs import run_tool, write_segmentation

CONFIGS = Path(__file__).parents[2] / 'configs'
CAMVID = CONFIGS / 'bisenetv1/bisenetv1_r18-d32_1xb4-1k_camvid11-240x320.py'
NAIL = CONFIGS / 'mask_rcnn/mask-rcnn_r18_fpn_1xb2-2k_nail-320.py'

#: Width and height of images, and of what is made of them: a multiple of all
#: strides, so that no anchor lies in a padding.
IMAGE = (96, 96)
SIZE = (64, 64)
#: Images to validate: odd, so that one is repeated for two processes.
VALIDATED = 3
ITERATIONS = 3
#: What changes images at random, in another way in each process.
RANDOM = (
    *('FastPhotoMetricDistortion', 'PhotoMetricDistortion'),
    *('RandomFlip', 'RandomResize'),
)

pytestmark = [
    # pycocotools 2.0 does not know NumPy 2's way to hand over arrays.
    pytest.mark.filterwarnings(
        'ignore:__array__ implementation:DeprecationWarning'
    ),
    # MMDet's grids.
    pytest.mark.filterwarnings('ignore:torch.meshgrid:UserWarning'),
    pytest.mark.skipif(
        torch.cuda.is_available(), reason='the tools would train on GPUs'
    ),
]


def camvid_config(folder):
    """Return the light CamVid net, on sample scenes."""
    data = folder / 'data'
    write_camvid(data, num=12, size=IMAGE, progress=False)
    config = load_small(CAMVID, data, folder, SIZE)
    for head in (config.model.decode_head, *config.model.auxiliary_head):
        head.dropout_ratio = 0
    config.custom_hooks[0].vis_num = VALIDATED
    for name in ('val', 'test'):
        config[f'{name}_dataloader'].dataset.update(
            data_prefix=config.train_dataloader.dataset.data_prefix,
            indices=VALIDATED,
        )
    return config


def nail_config(folder):
    """Return the light nail detector with all parts of AugFPN."""
    data = folder / 'data'
    write_nails(data, num=12, size=IMAGE, progress=False)
    nails.convert(data, data / 'annotations')
    config = load_small(NAIL, data, folder, SIZE)
    extractor = dict(type='SoftRoIExtractor', roi_layer=dict(sampling_ratio=2))
    model = dict(
        neck=dict(type='AugFPN'),
        roi_head=dict(
            type='ConsistentStandardRoIHead',
            bbox_roi_extractor=extractor,
            mask_roi_extractor=extractor,
            auxiliary_mask_head=dict(),
        ),
        rpn_head=dict(anchor_generator=dict(ratios=[1.0])),
        train_cfg=even_losses(),
        test_cfg=dict(
            rcnn=dict(
                score_thr=0.0, nms=dict(iou_threshold=0.9), mask_thr_binary=0.1
            )
        ),
    )
    config.merge_from_dict(dict(model=model))
    keep_even_images(data / 'annotations/train.json')
    put_objects_everywhere(data / 'annotations/valid.json')
    # Its crops have width and height.
    config.train_dataloader.dataset.pipeline[4].crop_size = SIZE
    config.train_dataloader.batch_size = 1
    config.default_hooks.visualization.draw = False
    return config


def even_losses():
    """Make all images give as many anchors and RoIs to the losses.

    MMDet's losses are means over what the images of a batch give together,
    so the mean of two processes is that of the whole batch just where each
    image gives as many. Here all anchors and all RoIs are sampled, none lies
    between positive and negative, and no RoI but the objects is positive.
    """
    sampler = dict(num=10**6)
    # IoU 1 is not enough: boxes that were clipped alike exceed it by rounding.
    nothing_suppressed = dict(iou_threshold=2.0)
    anchors = dict(neg_iou_thr=0.7, min_pos_iou=0.01)
    nothing_else = dict(
        pos_iou_thr=0.99,
        neg_iou_thr=0.99,
        min_pos_iou=0.99,
        match_low_quality=False,
    )
    return dict(
        rpn=dict(assigner=anchors, sampler=sampler),
        rpn_proposal=dict(
            nms_pre=10**6, max_per_img=10**6, nms=nothing_suppressed
        ),
        rcnn=dict(assigner=nothing_else, sampler=sampler),
    )


def keep_even_images(path):
    """Keep images with the same number of objects, for their masks' sake."""
    counts = Counter(
        a['image_id'] for a in json.loads(path.read_text())['annotations']
    )
    usual = Counter(counts.values()).most_common(1)[0][0]
    keep_images(path, [i for i in counts if counts[i] == usual])


def keep_images(path, kept):
    """Keep some images of a COCO file, by their ids."""
    content = json.loads(path.read_text())
    content['images'] = [i for i in content['images'] if i['id'] in kept]
    content['annotations'] = [
        a for a in content['annotations'] if a['image_id'] in kept
    ]
    path.write_text(json.dumps(content))


def put_objects_everywhere(path):
    """Put objects where an untrained detector, too, finds some of them."""
    keep_images(path, range(1, VALIDATED + 1))
    content = json.loads(path.read_text())
    side = 24  # of the smallest anchors, in images at full size
    boxes = product(
        range(1, VALIDATED + 1),
        range(0, IMAGE[0] - side + 1, side // 2),
        range(0, IMAGE[1] - side + 1, side // 2),
    )
    content['annotations'] = [
        dict(
            id=number,
            image_id=image,
            category_id=content['categories'][0]['id'],
            bbox=[x, y, side, side],
            area=side**2,
            iscrowd=0,
            segmentation=[
                [x, y, x + side, y, x + side, y + side, x, y + side]
            ],
        )
        for number, (image, x, y) in enumerate(boxes, 1)
    ]
    path.write_text(json.dumps(content))


MAKERS = {'segmentation': camvid_config, 'detection': nail_config}


def write_config(config, folder):
    """Make a config train without chance, and write it."""
    loader = config.train_dataloader
    loader.dataset.pipeline = [
        step
        if step.type != 'RandomResize'
        else dict(type='Resize', scale=SIZE, keep_ratio=True)
        for step in loader.dataset.pipeline
        if step.type not in RANDOM or step.type == 'RandomResize'
    ]
    config.train_cfg.update(max_iters=ITERATIONS, val_interval=ITERATIONS)
    # The momentum after the first step is the gradient.
    config.optim_wrapper = dict(
        type='OptimWrapper',
        optimizer=dict(type='SGD', lr=1e-3, momentum=0.9),
    )
    config.param_scheduler = []
    config.default_hooks.checkpoint = dict(
        type='CheckpointHook', by_epoch=False, interval=1
    )
    config.custom_imports.imports = ['mmseg_ext', 'helpers.job_hooks']
    config.custom_hooks = [
        *config.get('custom_hooks', ()),
        dict(type='FrozenAtFirstHook'),
    ]
    path = folder / 'config.py'
    config.dump(path)
    return path


class Job(NamedTuple):
    """A training of two processes that has ended."""

    kind: str
    config: Path
    work_dir: Path

    @property
    def checkpoint(self):
        return self.work_dir / f'iter_{ITERATIONS}.pth'


@pytest.fixture(scope='module', params=MAKERS)
def job(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp(request.param)
    config = write_config(MAKERS[request.param](folder), folder)
    work_dir = folder / 'two'
    status, text, _ = train_together(config, work_dir)
    assert status == 0, text
    return Job(request.param, config, work_dir)


@pytest.fixture
def cluster(tmp_path):
    """Return the variables of a machine that has srun and mpirun."""
    folder = write_stand_ins(tmp_path / 'bin')
    with socket.socket() as probe:
        probe.bind(('127.0.0.1', 0))
        port = probe.getsockname()[1]
    path = f'{folder}{os.pathsep}{os.environ["PATH"]}'
    return {'PATH': path, 'MASTER_PORT': str(port)}


def train_together(config, work_dir, *arguments):
    """Train in two processes; return status, output and time of the end."""
    return run_job(
        *(TORCHRUN, config.parent, 'train', config),
        *('--launcher', 'pytorch', '--work-dir', work_dir, *arguments),
    )


def load_checkpoint(path):
    return torch.load(path, map_location='cpu', weights_only=True)


def only(paths):
    (path,) = paths
    return path


def logged(work_dir, name):
    """Return the numbers of the last line of a file of the run's folder."""
    path = only(work_dir.glob(f'*/{name}'))
    return json.loads(path.read_text().splitlines()[-1])


def assert_scores(found, expected, scores):
    """Compare all scores, to the last digit; some must not be zero."""
    assert all(expected[name] > 0 for name in scores)
    assert {name: found[name] for name in expected} == expected


SCORES = {
    'segmentation': ('mIoU', 'aAcc'),
    'detection': ('coco/bbox_mAP', 'coco/segm_mAP'),
}


def test_validation_is_that_of_the_checkpoint(job, tmp_path):
    """Also with batch normalization, which counts in each process."""
    argv = [job.config, job.checkpoint, '--work-dir', tmp_path]
    expected = run_tool('test', *argv)
    found = logged(job.work_dir, 'vis_data/scalars.json')
    assert found['step'] == ITERATIONS
    assert_scores(found, expected, SCORES[job.kind])


def test_gradients_are_those_of_the_whole_batch(job, tmp_path):
    batch = 2 * Config.fromfile(job.config).train_dataloader.batch_size
    run_tool(
        *('train', job.config, '--work-dir', tmp_path, '--cfg-options'),
        *(f'train_dataloader.batch_size={batch}', 'train_cfg.max_iters=1'),
        f'train_cfg.val_interval={ITERATIONS}',
    )
    found, expected = (
        [
            state['momentum_buffer']
            for state in load_checkpoint(folder / 'iter_1.pth')['optimizer'][
                'state'
            ].values()
        ]
        for folder in (job.work_dir, tmp_path)
    )
    assert len(found) == len(expected) > 100
    largest = max(gradient.abs().max() for gradient in expected)
    for ours, whole in zip(found, expected, strict=True):
        # Sums of single precision in another order differ by 5e-6.
        tolerance = 1e-4 * whole.abs().max() + 1e-7 * largest
        assert (ours - whole).abs().max() <= tolerance


def test_both_processes_test(job, tmp_path, cluster):
    """Scores, predictions and pictures, and no image twice."""
    starter, launcher, out = {
        'segmentation': (TORCHRUN, 'pytorch', 'maps'),
        'detection': (SRUN, 'slurm', 'boxes.pkl'),
    }[job.kind]
    one, two = tmp_path / 'one', tmp_path / 'two'
    argv = [job.config, job.checkpoint]
    expected = run_tool('test', *argv, '--work-dir', one, '--out', one / out)
    status, text, _ = run_job(
        *(starter, tmp_path, 'test', *argv, '--work-dir', two),
        *('--out', two / out, '--launcher', launcher),
        *('--show-dir', two / 'drawn'),
        **cluster,
    )
    assert status == 0, text
    # Only the first process speaks.
    assert text.count(', 2 processes, ') == 1
    assert_scores(logged(two, '*.json'), expected, SCORES[job.kind])
    assert 'only the first process draws its images' in text
    if job.kind == 'segmentation':
        maps = files(one / out)
        assert len(maps) == VALIDATED
        assert files(two / out) == maps
        pictures = files(only(one.glob('*/seg_vis')))
        assert len(pictures) == 4 * VALIDATED
        assert files(only(two.glob('*/seg_vis'))) == pictures
    else:
        assert_same_predictions(load(two / out), load(one / out))
        # MMDet's visualizer draws in the first process alone.
        assert len(files(two / 'drawn')) == -(-VALIDATED // 2)


def files(folder):
    """Return the content of all files, by their paths in a folder."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob('*')
        if path.is_file()
    }


def assert_same_predictions(found, expected):
    assert len(found) == len(expected) == VALIDATED
    for ours, theirs in zip(found, expected, strict=True):
        assert ours['img_path'] == theirs['img_path']
        ours, theirs = ours['pred_instances'], theirs['pred_instances']
        assert len(theirs['scores']) > 10
        for name in ('bboxes', 'scores', 'labels'):
            assert torch.equal(ours[name], theirs[name])
        assert ours['masks'] == theirs['masks']


def with_failure(config, folder, **failure):
    """Write a config anew, one of whose processes fails."""
    cfg = Config.fromfile(config)
    imports = {'mmseg_ext', 'helpers.job_hooks', *cfg.custom_imports.imports}
    cfg.custom_imports.imports = sorted(imports)
    cfg.custom_hooks = [
        *cfg.get('custom_hooks', ()),
        dict(type='FailingHook', **failure),
    ]
    path = folder / 'failing.py'
    cfg.dump(path)
    return path


@pytest.mark.parametrize('job', ['segmentation'], indirect=True)
def test_a_killed_process_ends_the_job_and_it_goes_on(job, tmp_path):
    work_dir = tmp_path / 'work'
    failing = with_failure(job.config, tmp_path, iteration=2, killed=True)
    status, text, ended = train_together(failing, work_dir)
    assert status != 0
    assert 'SIGKILL' in text
    assert ended - float((work_dir / 'failed_at').read_text()) < 60

    status, text, _ = train_together(job.config, work_dir, '--resume')
    assert status == 0, text
    assert '\n3/3  eta ' in text
    assert '\n2/3  eta ' not in text
    found, expected = map(
        load_checkpoint, (work_dir / job.checkpoint.name, job.checkpoint)
    )
    for name, value in expected['state_dict'].items():
        assert torch.equal(found['state_dict'][name], value), name


def test_an_error_of_one_process_ends_the_job(tmp_path, cluster):
    """Also where what has started the processes does not end them."""
    work_dir = tmp_path / 'work'
    config = with_failure(
        write_segmentation(tmp_path / 'seg'),
        tmp_path,
        iteration=1,
        killed=False,
    )
    status, text, ended = run_job(
        *(MPIRUN, tmp_path, 'train', config, '--work-dir', work_dir),
        *('--launcher', 'mpi'),
        **cluster,
        MASTER_ADDR='127.0.0.1',
    )
    assert status != 0
    assert text.count(', 2 processes, ') == 1
    assert text.count('RuntimeError: the second process fails') == 1
    assert ended - float((work_dir / 'failed_at').read_text()) < 60


def test_both_processes_tell_an_error_once(tmp_path):
    status, text, _ = run_job(
        *(TORCHRUN, tmp_path, 'train', 'gone.py', '--launcher', 'pytorch')
    )
    assert status != 0
    assert text.count('train.py: error: there is no config gone.py') == 1
    assert text.count('train.py: error:') == 1
