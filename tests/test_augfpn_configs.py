"""The configs of AugFPN: what they are made of, and that they train."""

import math
from pathlib import Path

import pytest
import torch
from mmdet.models.losses import IoULoss
from mmengine.config import Config
from mmengine.runner import load_checkpoint
from mmengine.structures import InstanceData
from torch import multiprocessing

import mmseg_ext.models.dense_heads
import mmseg_ext.models.necks
import mmseg_ext.models.roi_extractors
import mmseg_ext.models.roi_heads  # noqa: F401, registers
from helpers.detectors import (
    gradients,
    make_batch,
    predict,
    small_detector,
    train_rank,
    train_step,
)
from references import aug_fpn

FOLDER = Path(__file__).parents[1] / 'configs/augfpn'
NAMES = sorted(path.stem for path in FOLDER.glob('*.py'))
FASTER = 'faster-rcnn_r50_augfpn'

#: In front of, or within, the names of the parameters of the three parts.
PARTS = ('high_lateral_conv', 'auxiliary_', 'spatial_attention_conv')

# MMDet's grids.
pytestmark = pytest.mark.filterwarnings('ignore:torch.meshgrid:UserWarning')


def path_of(name):
    return FOLDER / f'{name}.py'


def is_new(name):
    return any(part in name for part in PARTS)


def new_parts(name):
    """Parts that a config's detector has parameters of."""
    names = [n for n, _ in small_detector(path_of(name)).named_parameters()]
    return {part for part in PARTS if any(part in n for n in names)}


@pytest.mark.parametrize(
    ('name', 'parts'),
    [
        pytest.param('-none', set(), id='none'),
        pytest.param('-rfa', {'high_lateral_conv'}, id='rfa'),
        pytest.param('-cs', {'auxiliary_'}, id='cs'),
        pytest.param('-srs', {'spatial_attention_conv'}, id='srs'),
        pytest.param('', set(PARTS), id='all'),
    ],
)
def test_ablation(name, parts):
    """Each part alone, and nothing else differs."""
    full = f'{FASTER}{name}_1x_coco'
    assert new_parts(full) == parts
    config, plain = (
        Config.fromfile(path_of(each))
        for each in (full, f'{FASTER}-none_1x_coco')
    )
    for key in set(plain) | set(config):
        if key not in ('model', 'neck', 'extractor'):
            assert config.get(key) == plain.get(key), key
    assert config.model.roi_head.bbox_roi_extractor.roi_layer == {
        'type': 'RoIAlign',
        'output_size': 7,
        'sampling_ratio': 2,
    }


@pytest.mark.parametrize(
    ('prefix', 'betas'),
    [
        pytest.param(
            ('faster-rcnn', 'mask-rcnn'),
            {
                'rpn_head': 1 / 9,
                'roi_head.bbox_head': 1,
                'roi_head.auxiliary_bbox_head': 1,
            },
            id='two-stage',
        ),
        pytest.param(
            'retinanet',
            {'bbox_head': 0.11, 'bbox_head.auxiliary_bbox_head': 1},
            id='retinanet',
        ),
        pytest.param(
            'fcos',
            {'bbox_head': None, 'bbox_head.auxiliary_bbox_head': 1},
            id='fcos',
        ),
    ],
)
def test_box_losses_are_the_authors(prefix, betas):
    """Smooth L1, the beta of each as in their configs and heads."""
    differences = [-3, -1, -0.4, -0.05, 0, 0.1, 0.5, 1, 2]
    pred = torch.tensor([differences]).T
    for name in filter(lambda name: name.startswith(prefix), NAMES):
        modules = small_detector(path_of(name)).named_modules()
        losses = {
            k: m.loss_bbox for k, m in modules if hasattr(m, 'loss_bbox')
        }
        supervised = 'auxiliary_' in new_parts(name)
        assert set(losses) == {
            key for key in betas if supervised or 'auxiliary_' not in key
        }
        for key, loss in losses.items():
            if betas[key] is None:
                assert type(loss) is IoULoss
                continue
            expected = sum(
                aug_fpn.smooth_l1(x, betas[key]) for x in differences
            )
            found = loss(pred, torch.zeros_like(pred), avg_factor=1)
            assert found.item() == pytest.approx(expected)


def test_names():
    """Those above, and those of the authors' table."""
    assert len(NAMES) == 8
    assert new_parts('mask-rcnn_r50_augfpn_1x_coco') == set(PARTS)
    for name in NAMES[-1], NAMES[-3]:
        assert name.startswith(('retinanet_r50_augfpn', 'fcos_r50-caffe'))
        assert new_parts(name) == {'high_lateral_conv', 'auxiliary_'}


def check_gradients(detector):
    """All parameters of the three parts must have one."""
    for key, gradient in gradients(detector).items():
        if is_new(key):
            assert gradient.isfinite().all(), key
            assert (gradient != 0).any(), key


@pytest.mark.parametrize('name', NAMES)
def test_training_step_and_inference(name, tmp_path):
    detector = small_detector(path_of(name))
    logged = train_step(detector, detector, make_batch())
    assert all(0 <= value < math.inf for value in logged.values()), logged
    check_gradients(detector)
    supervised = any('auxiliary_' in n for n, _ in detector.named_parameters())
    assert supervised == ('loss_aux_cls' in logged)

    results = predict(detector, make_batch())
    assert all(len(result) for result in results)

    # The auxiliary weights need not be there, and do not matter.
    state = detector.state_dict()
    path = tmp_path / 'x.pth'
    torch.save({k: v for k, v in state.items() if 'auxiliary_' not in k}, path)
    torch.manual_seed(1)
    other = small_detector(path_of(name))
    load_checkpoint(other, str(path), strict=True)
    for one, another in zip(
        results, predict(other, make_batch()), strict=True
    ):
        torch.testing.assert_close(one.bboxes, another.bboxes)
        torch.testing.assert_close(one.scores, another.scores)


@pytest.mark.parametrize(
    'name',
    [
        pytest.param(f'{FASTER}_1x_coco', id='faster-rcnn'),
        pytest.param('mask-rcnn_r50_augfpn_1x_coco', id='mask-rcnn'),
        pytest.param('retinanet_r50_augfpn_1x_coco', id='retinanet'),
        pytest.param('fcos_r50-caffe_augfpn_gn-head_1x_coco', id='fcos'),
    ],
)
def test_mixed_precision(name):
    detector = small_detector(path_of(name)).train()
    data = detector.data_preprocessor(make_batch(), training=True)
    samples = data['data_samples']
    torch.manual_seed(0)
    with torch.autocast('cpu', torch.bfloat16):
        features = detector.extract_feat(data['inputs'])
        if hasattr(detector, 'roi_head'):
            # On the CPU, RPN's own NMS does not take half precision.
            proposals = [
                InstanceData(bboxes=sample.gt_instances.bboxes + 1)
                for sample in samples
            ]
            losses = detector.roi_head.loss(features, proposals, samples)
        else:
            losses = detector.bbox_head.loss(features, samples)
    total, logged = detector.parse_losses(losses)
    total.backward()
    assert all(0 <= value < math.inf for value in logged.values()), logged
    check_gradients(detector)


def test_two_passes_do_not_mix():
    """The losses of a batch after another one has passed the neck."""
    name = f'{FASTER}_1x_coco'
    detector = small_detector(path_of(name)).train()
    first, second = (
        detector.data_preprocessor(make_batch(1, seed), training=True)
        for seed in (0, 1)
    )

    def roi_losses(features):
        samples = first['data_samples']
        torch.manual_seed(0)
        _, proposals = detector.rpn_head.loss_and_predict(
            features, samples, detector.train_cfg.rpn_proposal
        )
        return detector.roi_head.loss(features, proposals, samples)

    expected = roi_losses(detector.extract_feat(first['inputs']))
    features = detector.extract_feat(first['inputs'])
    detector.extract_feat(second['inputs'])
    other = small_detector(path_of(name)).train()
    other.extract_feat(second['inputs'])
    torch.testing.assert_close(roi_losses(features), expected)


def test_two_processes_average_their_gradients(tmp_path):
    path = path_of(f'{FASTER}_1x_coco')
    multiprocessing.spawn(train_rank, (tmp_path, path), nprocs=2)
    found = [torch.load(tmp_path / f'{rank}.pth') for rank in range(2)]

    detector = small_detector(path)
    for rank in range(2):
        train_step(detector, detector, make_batch(1, seed=rank), seed=rank)
    for name, gradient in gradients(detector).items():
        assert gradient is not None, name
        for rank in range(2):
            torch.testing.assert_close(
                found[rank][name], gradient / 2, rtol=1e-3, atol=1e-5
            )
