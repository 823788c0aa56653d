"""Both heads for consistent supervision; each test says which."""

import pytest
import torch
from mmcv.ops import roi_align
from mmdet.models.roi_heads.cascade_roi_head import CascadeRoIHead
from mmdet.models.roi_heads.standard_roi_head import StandardRoIHead
from mmdet.models.task_modules.assigners import AssignResult
from mmdet.models.task_modules.samplers import SamplingResult
from mmdet.registry import MODELS
from mmengine.logging import MMLogger
from mmengine.runner import load_checkpoint

import mmseg_ext.models.roi_extractors
import mmseg_ext.models.roi_heads  # noqa: F401, registers
from helpers.roi_heads import (
    LABELS,
    STRIDES,
    TRUTH,
    bbox_head,
    expected_box_losses,
    extractor,
    fill,
    make_proposals,
    make_pyramid,
    make_sample,
    mask_head,
    train_cfg,
)

pytestmark = pytest.mark.usefixtures('mmdet_scope')

STDS = (0.1, 0.1, 0.2, 0.2)
LATER_STDS = (0.05, 0.05, 0.1, 0.1)
ROIS = make_proposals()[0].bboxes
#: Those of the proposals and objects that lie on an object.
POSITIVE = torch.cat([TRUTH, ROIS[[0, 1, 4]]])
POSITIVE_LABELS = LABELS[[0, 1, 0, 1, 0]]


def build_standard(masks=False, **options):
    config = {
        'type': 'ConsistentStandardRoIHead',
        'bbox_roi_extractor': extractor(3),
        'bbox_head': bbox_head(),
        'train_cfg': train_cfg(),
    }
    if masks:
        config['mask_roi_extractor'] = extractor(3)
        config['mask_head'] = mask_head()
    return fill(MODELS.build({**config, **options}))


def build_cascade(masks=False, **options):
    coders = [
        {'type': 'DeltaXYWHBBoxCoder', 'target_stds': stds}
        for stds in (STDS, LATER_STDS)
    ]
    config = {
        'type': 'ConsistentCascadeRoIHead',
        'num_stages': 2,
        'stage_loss_weights': [1, 0.5],
        'bbox_roi_extractor': extractor(3),
        'bbox_head': [
            bbox_head(bbox_coder=coder, reg_class_agnostic=True)
            for coder in coders
        ],
        'train_cfg': [train_cfg(), train_cfg()],
    }
    if masks:
        config['mask_roi_extractor'] = extractor(3)
        config['mask_head'] = mask_head()
    return fill(MODELS.build({**config, **options}))


BUILDERS = pytest.mark.parametrize(
    'build',
    [
        pytest.param(build_standard, id='standard'),
        pytest.param(build_cascade, id='cascade'),
    ],
)


def loss(head, pyramid=None):
    torch.manual_seed(0)
    pyramid = make_pyramid() if pyramid is None else pyramid
    return head.loss(pyramid, make_proposals(), [make_sample()])


def auxiliary(head):
    return {
        name: parameter
        for name, parameter in head.named_parameters()
        if name.startswith('auxiliary_')
    }


@pytest.mark.parametrize('alpha', [0.25, 2])
@pytest.mark.parametrize('agnostic', [False, True])
def test_box_losses_are_those_of_the_paper(alpha, agnostic):
    head = build_standard(
        alpha=alpha, bbox_head=bbox_head(reg_class_agnostic=agnostic)
    )
    pyramid = make_pyramid()
    losses = loss(head, pyramid)
    loss_cls, loss_bbox = expected_box_losses(
        head.auxiliary_bbox_head, pyramid.laterals, STRIDES, ROIS, STDS
    )
    torch.testing.assert_close(losses['loss_aux_cls'], alpha * loss_cls)
    torch.testing.assert_close(losses['loss_aux_bbox'], alpha * loss_bbox)


@BUILDERS
@pytest.mark.parametrize('levels', [1, 2])
def test_fewer_maps_than_strides(build, levels):
    """The first levels are read; one of them plainly, as by any extractor."""
    head = build(bbox_roi_extractor=extractor(3, type='SoftRoIExtractor'))
    single = build()
    single.load_state_dict(head.state_dict(), strict=False)
    pyramid = make_pyramid(STRIDES[:levels], levels)
    losses, others = loss(head, pyramid), loss(single, pyramid)
    if levels == 1:
        torch.testing.assert_close(losses, others)
    own = head.auxiliary_bbox_head
    own, prefix = (own, '') if build is build_standard else (own[0], 's0.')
    expected = expected_box_losses(own, pyramid.laterals, STRIDES, ROIS, STDS)
    for name, value in zip(('cls', 'bbox'), expected, strict=True):
        found = losses[f'{prefix}loss_aux_{name}']
        torch.testing.assert_close(found, 0.25 * value)


def sampling_result():
    """What a stage has sampled: the objects and all proposals."""
    boxes = torch.cat([TRUTH, ROIS])
    positive = torch.tensor([0, 1, 2, 3, 6])
    negative = torch.tensor([4, 5])
    objects = torch.tensor([1, 2, 1, 2, 0, 0, 1])
    labels = torch.tensor([2, 0, 2, 0, -1, -1, 2])
    return SamplingResult(
        pos_inds=positive,
        neg_inds=negative,
        priors=boxes,
        gt_bboxes=TRUTH,
        assign_result=AssignResult(2, objects, torch.ones(7), labels),
        gt_flags=torch.zeros(7, dtype=torch.uint8),
    )


@pytest.mark.parametrize(
    ('stage', 'stds'),
    [pytest.param(0, STDS, id='first'), pytest.param(1, LATER_STDS, id='2nd')],
)
def test_each_stage_has_its_own_head_and_targets(stage, stds):
    head = build_cascade()
    pyramid = make_pyramid()
    losses = head.bbox_loss(stage, pyramid, [sampling_result()])['loss_bbox']
    own = head.auxiliary_bbox_head[stage]
    loss_cls, loss_bbox = expected_box_losses(
        own, pyramid.laterals, STRIDES, ROIS, stds
    )
    torch.testing.assert_close(losses['loss_aux_cls'], 0.25 * loss_cls)
    torch.testing.assert_close(losses['loss_aux_bbox'], 0.25 * loss_bbox)


def test_losses_of_stages_are_weighted_and_named():
    halved = build_cascade(masks=True, auxiliary_mask_head={})
    full = build_cascade(
        masks=True, auxiliary_mask_head={}, stage_loss_weights=[1, 1]
    )
    losses, others = loss(halved), loss(full)
    parts = ['aux_cls', 'aux_bbox', 'aux_mask', 'cls', 'bbox', 'mask']
    for part in parts:
        for stage, weight in enumerate([1, 0.5]):
            name = f's{stage}.loss_{part}'
            torch.testing.assert_close(losses[name], weight * others[name])
            assert losses[name] > 0
    accuracies = {'s0.acc', 's1.acc'}
    assert len(losses) == 2 * len(parts) + len(accuracies)


def expected_mask_loss(head, laterals, agnostic):
    """Binary cross entropy of all pixels; the masks are full and empty."""
    rois = torch.cat([torch.zeros(len(POSITIVE), 1), POSITIVE], 1)
    channels = torch.zeros_like(POSITIVE_LABELS)
    if not agnostic:
        channels = POSITIVE_LABELS
    targets = (LABELS[0] == POSITIVE_LABELS).float()
    total = 0
    for lateral, stride in zip(laterals, STRIDES, strict=True):
        logits = head(roi_align(lateral, rois, (3, 3), 1 / stride, 2))
        logits = logits[torch.arange(len(rois)), channels]
        signs = 1 - 2 * targets[:, None, None]
        total += torch.log1p(torch.exp(signs * logits)).mean()
    return total


@pytest.mark.parametrize('agnostic', [False, True])
def test_mask_loss_is_that_of_the_paper(agnostic):
    options = {
        'mask_head': mask_head(class_agnostic=agnostic),
        'auxiliary_mask_head': {},
    }
    head = build_standard(masks=True, **options)
    pyramid = make_pyramid()
    losses = loss(head, pyramid)
    expected = expected_mask_loss(
        head.auxiliary_mask_head, pyramid.laterals, agnostic
    )
    torch.testing.assert_close(losses['loss_aux_mask'], 0.25 * expected[None])

    cascade = build_cascade(masks=True, **options)
    for stage, own in enumerate(cascade.auxiliary_mask_head):
        (found,) = [
            value
            for name, value in cascade.mask_loss(
                stage,
                pyramid,
                [sampling_result()],
                [make_sample().gt_instances],
            )['loss_mask'].items()
            if 'aux' in name
        ]
        expected = expected_mask_loss(own, pyramid.laterals, agnostic)
        torch.testing.assert_close(found, 0.25 * expected[None])


@pytest.mark.parametrize(
    ('build', 'upstream'),
    [
        pytest.param(build_standard, StandardRoIHead, id='standard'),
        pytest.param(build_cascade, CascadeRoIHead, id='cascade'),
    ],
)
def test_main_losses_are_those_of_mmdet(build, upstream):
    head = build(masks=True)
    plain = build(masks=True, type=upstream.__name__)
    assert type(plain) is upstream
    plain.load_state_dict(head.state_dict(), strict=False)
    losses = loss(head)
    for name, value in loss(plain).items():
        torch.testing.assert_close(losses.pop(name), value, rtol=0, atol=0)
    assert losses
    assert all('loss_aux_' in name for name in losses)


@BUILDERS
def test_auxiliary_losses_train_laterals_and_auxiliary_heads(build):
    head = build(masks=True, auxiliary_mask_head={})
    pyramid = make_pyramid()
    losses = loss(head, pyramid)
    total = sum(value for name, value in losses.items() if 'aux' in name)
    total.backward()
    assert all((x.grad != 0).any() for x in pyramid.laterals)
    assert all(x.grad is None for x in pyramid)
    for name, parameter in head.named_parameters():
        expected = name.startswith('auxiliary_')
        trained = parameter.grad is not None and (parameter.grad != 0).any()
        assert trained == expected, name


@BUILDERS
def test_without_rois_all_take_part(build):
    head = build(masks=True, auxiliary_mask_head={})
    pyramid = make_pyramid()
    sample = make_sample()
    sample.gt_instances = sample.gt_instances[:0]
    losses = head.loss(pyramid, [make_proposals()[0][:0]], [sample])
    first = [name for name in losses if '1.' not in name and 'aux' in name]
    assert [losses[name].item() for name in first] == [0, 0, 0]
    sum(losses[name] for name in first).backward()
    used = {n for n, p in auxiliary(head).items() if p.grad is not None}
    assert used == {n for n in auxiliary(head) if '_head.1.' not in n}
    assert all((x.grad == 0).all() for x in pyramid.laterals)


@BUILDERS
def test_outside_training_there_is_nothing(build):
    head = build(masks=True, auxiliary_mask_head={}).eval()
    losses = loss(head, tuple(make_pyramid()))
    assert losses
    assert not any('aux' in name for name in losses)


@BUILDERS
@pytest.mark.parametrize(
    'maps',
    [
        pytest.param(tuple(make_pyramid()), id='tuple'),
        pytest.param(make_pyramid(levels=0), id='none'),
    ],
)
def test_neck_without_laterals(build, maps):
    head = build()
    names = f'{type(head).__name__} .* the {type(maps).__name__} '
    with pytest.raises(TypeError, match=names + '.* no `laterals`: .*AugFPN'):
        loss(head, maps)


def test_auxiliary_heads_are_like_the_main_ones_unless_told():
    head = build_standard(masks=True)
    assert str(head.auxiliary_bbox_head) == str(head.bbox_head)
    assert head.auxiliary_mask_head is None

    head = build_standard(
        masks=True,
        auxiliary_bbox_head={'fc_out_channels': 5},
        auxiliary_mask_head=mask_head(num_convs=0),
    )
    assert head.auxiliary_bbox_head.fc_cls.in_features == 5
    assert head.auxiliary_bbox_head.num_classes == 3
    assert len(head.auxiliary_mask_head.convs) == 0

    changes = [{'fc_out_channels': 5}, {'fc_out_channels': 6}]
    head = build_cascade(auxiliary_bbox_head=changes)
    heads = head.auxiliary_bbox_head
    assert [own.fc_cls.in_features for own in heads] == [5, 6]


@BUILDERS
@pytest.mark.parametrize(
    ('options', 'message'),
    [
        pytest.param({'alpha': -1}, 'alpha .* not -1', id='alpha'),
        pytest.param(
            {'auxiliary_mask_head': {'num_convs': 2}},
            r"auxiliary head \{'num_convs': 2\} has no main head.*mask_head",
            id='mask',
        ),
    ],
)
def test_bad_arguments(build, options, message):
    with pytest.raises(ValueError, match=message):
        build(**options)


@BUILDERS
def test_soft_extractor_beside_it(build):
    """Its RoI layers read the laterals too."""
    soft = build(bbox_roi_extractor=extractor(3, type='SoftRoIExtractor'))
    single = build()
    soft.load_state_dict(single.state_dict(), strict=False)
    losses, others = loss(soft), loss(single)
    for name in losses:
        if 'aux' in name and 's1' not in name:
            torch.testing.assert_close(losses[name], others[name])


@BUILDERS
def test_checkpoint_without_auxiliary_weights(build, mmlog, tmp_path):
    head = build(masks=True, auxiliary_mask_head={})
    own = {n: p.detach().clone() for n, p in auxiliary(head).items()}
    state = {n: v + 1 for n, v in head.state_dict().items() if n not in own}
    head.load_state_dict(state)
    for name, value in head.state_dict().items():
        assert torch.equal(value, state.get(name, own.get(name))), name
    assert not any(name in state for name in own)

    # Below other modules; mmengine warns of what is missing.
    torch.save({f'0.{n}': v for n, v in state.items()}, tmp_path / 'x.pth')
    load_checkpoint(
        torch.nn.Sequential(head),
        str(tmp_path / 'x.pth'),
        logger=MMLogger.get_current_instance(),
    )
    assert not [r for r in mmlog.records if r.levelname == 'WARNING']


@BUILDERS
def test_checkpoint_with_some_auxiliary_weights_is_not_whole(build):
    head = build()
    state = head.state_dict()
    lost = [n for n in state if n.startswith('auxiliary_')][-1]
    del state[lost]
    with pytest.raises(RuntimeError, match=f'Missing key.*"{lost}"'):
        head.load_state_dict(state)
