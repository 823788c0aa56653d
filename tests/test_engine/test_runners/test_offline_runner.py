"""Which entries of a config are taken out, and which stay."""

import copy

import pytest
from mmengine.config import ConfigDict
from mmengine.logging import MMLogger
from mmengine.runner import Runner

from mmseg_ext.engine.runners import OfflineRunner, leave_out_addresses

ADDRESS = 'https://example.org/x.pth'
PACKAGE = {'type': 'PackageWeights', 'package': 'weights_of_a_package'}
HE = {'type': 'Kaiming', 'layer': 'Conv2d'}


def pretrained(checkpoint):
    return {'type': 'Pretrained', 'checkpoint': checkpoint}


def config_of(load_from=None, resume=False, **model):
    return ConfigDict(load_from=load_from, resume=resume, model=model)


@pytest.mark.parametrize(
    'address',
    [
        *('http://example.org/x.pth', ADDRESS, 's3://bucket/x.pth'),
        *('open-mmlab://resnet50', 'torchvision://resnet50'),
        *('cluster:s3://bucket/x.pth', 'https://example.org/x?format=raw'),
    ],
)
def test_addresses_are_taken_out_wherever_they_are(address):
    config = config_of(
        load_from=address,
        pretrained=address,
        init_cfg=pretrained(address),
        backbone={'depth': 50, 'init_cfg': pretrained(address)},
        heads=[{'init_cfg': [HE, pretrained(address)]}, {'weights': address}],
        teacher={'type': 'UNet', 'checkpoint': address},
    )
    changed = leave_out_addresses(config)
    assert config == {
        'load_from': None,
        'resume': False,
        'model': {
            'pretrained': None,
            'init_cfg': None,
            'backbone': {'depth': 50, 'init_cfg': None},
            'heads': [{'init_cfg': [HE]}, {'weights': None}],
            'teacher': {'type': 'UNet', 'checkpoint': None},
        },
    }
    assert sorted(changed) == [
        *('load_from', 'model.backbone.init_cfg'),
        *('model.heads.0.init_cfg.1', 'model.heads.1.weights'),
        *('model.init_cfg', 'model.pretrained', 'model.teacher.checkpoint'),
    ]


def test_a_list_with_nothing_left_is_no_list():
    """Classes ask whether ``init_cfg`` is None, to start as by default."""
    config = config_of(backbone={'init_cfg': [pretrained(ADDRESS)]})
    leave_out_addresses(config)
    assert config.model.backbone.init_cfg is None


@pytest.mark.parametrize(
    'key', ['backbone_init', 'teacher_ckpt', 'checkpoints', 'init']
)
def test_keys_that_mean_weights(key):
    config = config_of(head={key: 'https://example.org/1'})
    assert leave_out_addresses(config) == [f'model.head.{key}']
    assert config.model.head == {key: None}
    config = config_of(head={key: ['https://example.org/1', 'a.pth']})
    assert leave_out_addresses(config) == [f'model.head.{key}.0']
    assert config.model.head == {key: ['a.pth']}


@pytest.mark.parametrize(
    'address', ['torchvision://resnet50', 'https://example.org/x.pth?raw=1']
)
def test_values_that_are_weights(address):
    config = config_of(head={'source': address})
    assert leave_out_addresses(config) == ['model.head.source']


def test_what_is_no_address_of_weights_stays():
    config = config_of(
        load_from='file:///runs/best.pth',
        pretrained='local://resnet50.pth',
        backbone={'init_cfg': PACKAGE, 'frozen_stages': 1},
        neck={'init_cfg': pretrained('/weights/neck.pth')},
        heads=[
            {'note': 'https://arxiv.org/abs/1'},
            {'checkpoint_note': 'as in https://example.org/x.pth, but small'},
            {'type': 'TIMMBackbone', 'pretrained': True},
        ],
    )
    before = copy.deepcopy(config)
    assert leave_out_addresses(config) == []
    assert config == before


FROZEN = {
    'frozen_stages': 1,
    'norm_eval': True,
    'norm_cfg': {'type': 'BN', 'requires_grad': False},
}
FREE = {
    'frozen_stages': -1,
    'norm_eval': False,
    'norm_cfg': {'type': 'BN', 'requires_grad': True},
}


@pytest.mark.parametrize(
    ('settings', 'expected'),
    [
        pytest.param(
            {'backbone': {'init_cfg': pretrained(ADDRESS)}},
            FREE,
            id='backbone',
        ),
        pytest.param({'load_from': ADDRESS}, FREE, id='load-from'),
        pytest.param({'pretrained': ADDRESS}, FREE, id='pretrained'),
        pytest.param({}, FROZEN, id='nothing-left-out'),
        pytest.param(
            {'load_from': ADDRESS, 'backbone': {'init_cfg': PACKAGE}},
            FROZEN,
            id='package',
        ),
        pytest.param(
            {'load_from': ADDRESS, 'pretrained': 'file.pth'},
            FROZEN,
            id='file-for-the-backbone',
        ),
        pytest.param(
            {'load_from': ADDRESS, 'backbone': {'init_cfg': [HE]}},
            FREE,
            id='other-initializer',
        ),
        pytest.param(
            {'backbone': {'init_cfg': [HE, pretrained(ADDRESS)]}},
            FREE,
            id='other-initializer-is-left',
        ),
        pytest.param(
            {'pretrained': ADDRESS, 'init_cfg': HE},
            FREE,
            id='other-initializer-of-all',
        ),
        pytest.param(
            {
                'load_from': ADDRESS,
                'backbone': {'init_cfg': [HE, pretrained('file.pth')]},
            },
            FROZEN,
            id='other-initializer-and-file',
        ),
        pytest.param(
            {'load_from': 'file.pth', 'pretrained': ADDRESS},
            FROZEN,
            id='file-for-all',
        ),
        pytest.param(
            {'load_from': 'x.pth', 'resume': True, 'pretrained': ADDRESS},
            FREE,
            id='resumed',
        ),
    ],
)
def test_random_weights_are_not_frozen(settings, expected):
    settings = copy.deepcopy(settings)
    settings['backbone'] = {
        **copy.deepcopy(FROZEN),
        **settings.get('backbone', {}),
    }
    config = config_of(**settings)
    leave_out_addresses(config)
    backbone = config.model.backbone
    assert {key: backbone[key] for key in expected} == expected


def test_random_weights_in_a_list_are_not_frozen():
    parts = [copy.deepcopy(FROZEN), {**FROZEN, 'init_cfg': PACKAGE}]
    config = config_of(load_from=ADDRESS, backbones=parts)
    leave_out_addresses(config)
    assert config.model.backbones == [FREE, {**FROZEN, 'init_cfg': PACKAGE}]


def test_the_config_of_the_caller_stays(monkeypatch, mmlog):
    """As with mmengine's runner; what the log says and the run gets."""
    given = {}
    monkeypatch.setattr(Runner, '__init__', lambda _, **a: given.update(a))
    logger = MMLogger.get_current_instance()
    monkeypatch.setattr(Runner, 'logger', logger, raising=False)
    config = config_of(load_from=ADDRESS, init_cfg=pretrained(ADDRESS))
    config.work_dir = 'nowhere'
    before = copy.deepcopy(config)
    OfflineRunner.from_cfg(config)
    assert config == before
    assert given['load_from'] is None
    assert given['model'] == given['cfg'].model == {'init_cfg': None}
    assert [record.getMessage() for record in mmlog.records] == [
        'OfflineRunner leaves out weights at an address, and trains what '
        'would start from them; changed in the config: '
        'load_from, model.init_cfg'
    ]
