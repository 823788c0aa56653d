"""The model of a config, built without weights."""

import socket

import pytest
import torch
from mmengine.config import Config
from mmengine.registry import DefaultScope

from mmseg_ext.doctor.built_model import build_model, without_weights
from mmseg_ext.launch.configs import find_config, scope_of


def built(cfg):
    with DefaultScope.overwrite_default_scope(scope_of(cfg)):
        return build_model(cfg)


@pytest.fixture
def street_cfg(street):
    return Config.fromfile(street.config)


def test_nothing_is_loaded_and_the_config_stays(street_cfg, monkeypatch):
    def refuse(*args, **kwargs):
        raise AssertionError('the network was used')

    monkeypatch.setattr(socket.socket, 'connect', refuse)
    url = 'https://example.org/weights.pth'
    street_cfg.model.pretrained = url
    street_cfg.model.decode_head.init_cfg = dict(
        type='Pretrained', checkpoint=url
    )
    before = street_cfg.to_dict()
    model = built(street_cfg)
    assert model.fault is None
    assert model.on_meta
    assert street_cfg.to_dict() == before


def test_weights_are_left_out_everywhere():
    cfg = dict(
        pretrained='a.pth',
        parts=[dict(init_cfg=dict(checkpoint='b.pth'), checkpoint='c.pth')],
        sizes=(1, 2),
    )
    assert without_weights(cfg) == dict(
        pretrained=None, parts=[dict(checkpoint=None)], sizes=(1, 2)
    )


def test_heads_and_norms(street_cfg):
    street_cfg.model.backbone.norm_eval = True
    model = built(street_cfg)
    decode, auxiliary = model.heads
    assert decode.place == 'model.decode_head'
    assert decode.keys == ('num_classes',)
    assert (decode.num_classes, decode.out_channels) == (5, 5)
    assert auxiliary.name == 'auxiliary_head'
    assert [loss.learns for loss in decode.losses] == [True]
    trains = {norm.name.split('.')[0]: norm.trains for norm in model.norms}
    assert trains == {
        'backbone': False,
        'decode_head': True,
        'auxiliary_head': True,
    }
    assert not any(norm.single for norm in model.norms)


def test_a_config_without_model(street_cfg):
    street_cfg.pop('model')
    assert built(street_cfg) is None


def test_only_batch_norms_of_pooled_maps_are_single(street_cfg):
    """What the trial says is what PyTorch does with a batch of one."""
    from mmengine.registry import MODELS

    head = street_cfg.model.decode_head
    for key in ('num_convs', 'concat_input'):
        del head[key]
    head.type, head.pool_scales = 'PSPHead', (1, 2)
    names = {norm.name for norm in built(street_cfg).norms if norm.single}
    assert names == {'decode_head.psp_modules.0.1.bn'}
    with DefaultScope.overwrite_default_scope('mmseg'):
        model = MODELS.build(street_cfg.model).train()
    batch = torch.zeros(1, 3, 64, 64)
    with pytest.raises(ValueError, match='more than 1 value per channel'):
        model.decode_head(model.extract_feat(batch))
    model.decode_head.psp_modules[0].eval()
    model.decode_head(model.extract_feat(batch))


@pytest.mark.parametrize(
    ('name', 'places'),
    [
        (
            'mmdet::cascade_rcnn/cascade-mask-rcnn_r50_fpn_1x_coco.py',
            {
                *(f'model.roi_head.bbox_head.{k}' for k in range(3)),
                'model.roi_head.mask_head',
            },
        ),
        (
            'mmdet::mask2former/mask2former_r50_8xb2-lsj-50e_coco.py',
            {'model.panoptic_head', 'model.panoptic_fusion_head'},
        ),
        (
            'mmseg::knet/knet-s3_r50-d8_fcn_8xb2-adamw-80k_ade20k-512x512.py',
            {
                'model.decode_head',
                'model.decode_head.kernel_generate_head',
                'model.auxiliary_head',
            },
        ),
    ],
    ids=['cascade', 'mask2former', 'knet'],
)
def test_heads_of_upstream(name, places):
    model = built(Config.fromfile(find_config(name)))
    assert model.fault is None
    assert model.on_meta
    assert {head.place for head in model.heads if head.keys} == places


def test_no_such_model(street_cfg):
    street_cfg.model.type = 'NoSuchSegmentor'
    model = built(street_cfg)
    assert "there is no 'NoSuchSegmentor'" in model.fault
    assert model.heads == ()
