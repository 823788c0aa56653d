"""Both one-stage heads for consistent supervision."""

import pytest
import torch
from mmdet.models.dense_heads.fcos_head import FCOSHead
from mmdet.models.dense_heads.retina_head import RetinaHead
from mmdet.registry import MODELS
from mmengine.config import ConfigDict

import mmseg_ext.models.dense_heads  # noqa: F401, registers
from helpers.roi_heads import (
    CHANNELS,
    CLASSES,
    bbox_head,
    expected_box_losses,
    fill,
    make_pyramid,
    make_sample,
    train_cfg,
)
from mmseg_ext.models.dense_heads.consistent_dense_head import TRAIN_CFG
from mmseg_ext.models.dense_heads.consistent_fcos_head import (
    ConsistentFCOSHead,
)

# MMDet's grids.
pytestmark = [
    pytest.mark.filterwarnings('ignore:torch.meshgrid:UserWarning'),
    pytest.mark.usefixtures('mmdet_scope'),
]

STRIDES = [8, 16, 32, 64, 128]
COMMON = {
    'num_classes': CLASSES,
    'in_channels': CHANNELS,
    'feat_channels': CHANNELS,
    'stacked_convs': 1,
}
AUXILIARY = {
    'auxiliary_bbox_head': {
        key: value
        for key, value in bbox_head().items()
        if key not in ('type', 'num_classes', 'in_channels')
    },
    # All are sampled, so that nothing is left to chance.
    'auxiliary_train_cfg': {
        'proposal': {**TRAIN_CFG['proposal'], 'max_per_img': 100},
        'sampler': train_cfg().sampler,
    },
}


def build_retina(type='ConsistentRetinaHead', **options):
    assigner = {**train_cfg().assigner, 'neg_iou_thr': 0.4, 'min_pos_iou': 0}
    config = {
        'type': type,
        **COMMON,
        'train_cfg': ConfigDict(
            assigner=assigner,
            sampler={'type': 'PseudoSampler'},
            allowed_border=-1,
            pos_weight=-1,
        ),
    }
    return set_up(config, options, 'retina_reg')


def build_fcos(type='ConsistentFCOSHead', **options):
    config = {'type': type, **COMMON, 'strides': STRIDES, 'norm_cfg': None}
    return set_up(config, options, 'conv_reg')


def set_up(config, options, regression):
    """Build with random weights that predict small moves of the priors."""
    if config['type'].startswith('Consistent'):
        config.update(AUXILIARY)
    head = fill(MODELS.build({**config, **options}))
    for parameter in getattr(head, regression).parameters():
        parameter.data *= 0.1
    if regression == 'conv_reg':
        # Distances of about 3 strides, or 20 pixels.
        head.conv_reg.bias.data += 3
        for scale in head.scales:
            scale.scale.data.fill_(1)
    return head


BUILDERS = pytest.mark.parametrize(
    ('build', 'upstream'),
    [
        pytest.param(build_retina, RetinaHead, id='retinanet'),
        pytest.param(build_fcos, FCOSHead, id='fcos'),
    ],
)


def make_maps():
    """Five maps with three laterals, as of a neck that starts at stride 8."""
    return make_pyramid(STRIDES, 3)


def predict(head, maps):
    """Boxes that the head predicts after training, filtered as proposals."""
    head.eval()
    outputs = head(tuple(maps))
    (result,) = head.predict_by_feat(
        *outputs,
        batch_img_metas=[make_sample().metainfo],
        cfg=ConfigDict(AUXILIARY['auxiliary_train_cfg']['proposal']),
    )
    head.train()
    return result.bboxes


@BUILDERS
@pytest.mark.parametrize('alpha', [0.25, 1])
def test_losses_are_those_of_the_predictions_on_the_laterals(
    build, upstream, alpha
):
    head = build(alpha=alpha)
    maps = make_maps()
    losses = head.loss(maps, [make_sample()])
    boxes = predict(head, maps)
    assert len(boxes) == 100
    expected = expected_box_losses(
        head.auxiliary_bbox_head,
        maps.laterals,
        STRIDES,
        boxes,
        (0.1, 0.1, 0.2, 0.2),
    )
    names = ['loss_aux_cls', 'loss_aux_bbox']
    for name, value in zip(names, expected, strict=True):
        torch.testing.assert_close(
            losses[name], alpha * value, rtol=1e-4, atol=1e-5
        )


@pytest.mark.parametrize('norm_on_bbox', [False, True])
def test_fcos_reads_rois_in_pixels(norm_on_bbox, monkeypatch):
    head = build_fcos(norm_on_bbox=norm_on_bbox)
    found = []
    original = head.auxiliary_assigner.assign

    def note(proposal, *args):
        found.append(proposal.priors)
        return original(proposal, *args)

    monkeypatch.setattr(head.auxiliary_assigner, 'assign', note)
    maps = make_maps()
    head.loss(maps, [make_sample()])
    torch.testing.assert_close(*found, predict(head, maps))
    sizes = found[0][:, 2:] - found[0][:, :2]
    assert sizes.max() > 20


@BUILDERS
def test_other_losses_are_those_of_mmdet(build, upstream):
    head = build()
    plain = build(type=upstream.__name__)
    assert type(plain) is upstream
    plain.load_state_dict(head.state_dict(), strict=False)
    losses = head.loss(make_maps(), [make_sample()])
    for name, value in plain.loss(make_maps(), [make_sample()]).items():
        torch.testing.assert_close(losses.pop(name), value)
    assert list(losses) == ['loss_aux_cls', 'loss_aux_bbox']


@BUILDERS
def test_auxiliary_losses_train_laterals_and_auxiliary_head(build, upstream):
    head = build()
    maps = make_maps()
    losses = head.loss(maps, [make_sample()])
    (losses['loss_aux_cls'] + losses['loss_aux_bbox']).backward()
    assert all((x.grad != 0).any() for x in maps.laterals)
    assert all(x.grad is None for x in maps)
    for name, parameter in head.named_parameters():
        expected = name.startswith('auxiliary_')
        trained = parameter.grad is not None and (parameter.grad != 0).any()
        assert trained == expected, name


@BUILDERS
def test_without_rois_all_take_part(build, upstream):
    cfg = {'proposal': {**TRAIN_CFG['proposal'], 'score_thr': 1.0}}
    head = build(auxiliary_train_cfg=cfg)
    sample = make_sample()
    sample.gt_instances = sample.gt_instances[:0]
    losses = head.loss(make_maps(), [sample])
    total = losses['loss_aux_cls'] + losses['loss_aux_bbox']
    assert total == 0
    total.backward()
    for parameter in head.auxiliary_bbox_head.parameters():
        assert (parameter.grad == 0).all()


@BUILDERS
def test_outside_training_there_is_nothing(build, upstream):
    head = build().eval()
    losses = head.loss(tuple(make_maps()), [make_sample()])
    assert losses
    assert not any('aux' in name for name in losses)


@BUILDERS
def test_neck_without_laterals(build, upstream):
    with pytest.raises(
        TypeError, match=f'Consistent{upstream.__name__} .* no `laterals`: '
    ):
        build().loss(tuple(make_maps()), [make_sample()])


def test_default_head_is_the_papers():
    head = ConsistentFCOSHead(num_classes=80, in_channels=256)
    auxiliary = head.auxiliary_bbox_head
    assert {k: v.numel() for k, v in auxiliary.state_dict().items()} == {
        'fc_cls.weight': 81 * 1024,
        'fc_cls.bias': 81,
        'fc_reg.weight': 320 * 1024,
        'fc_reg.bias': 320,
        'shared_fcs.0.weight': 1024 * 256 * 7 * 7,
        'shared_fcs.0.bias': 1024,
        'shared_fcs.1.weight': 1024 * 1024,
        'shared_fcs.1.bias': 1024,
    }
    assert auxiliary.loss_bbox.beta == 1


@BUILDERS
def test_negative_alpha(build, upstream):
    with pytest.raises(ValueError, match=r'alpha .* not -0\.1'):
        build(alpha=-0.1)
