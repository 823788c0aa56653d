import copy
import pickle

import pytest
import torch
from mmdet.models.necks.fpn import FPN
from mmdet.registry import MODELS

from mmseg_ext.models.feature_pyramid import FeaturePyramid
from mmseg_ext.models.necks.aug_fpn import AugFPN
from references import aug_fpn

pytestmark = pytest.mark.usefixtures('mmdet_scope')

CHANNELS = [3, 5, 6, 7]
RATIOS = (0.1, 0.2, 0.3)
#: The top level of 11 x 23 is pooled to 1 x 2, 2 x 4 and 3 x 6.
SIZES = ((88, 184), (44, 92), (22, 46), (11, 23))
ODD = ((85, 177), (43, 89), (22, 45), (11, 23))
#: Every pooled map has a single position.
TINY = ((17, 9), (9, 5), (5, 3), (3, 2))


def build(**options):
    torch.manual_seed(0)
    neck = AugFPN(CHANNELS, 8, **{'num_outs': 5, **options})
    for parameter in neck.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return neck


def make_inputs(sizes=SIZES, requires_grad=False):
    generator = torch.Generator().manual_seed(1)
    return [
        torch.randn(2, channels, *size, generator=generator).requires_grad_(
            requires_grad
        )
        for channels, size in zip(CHANNELS, sizes, strict=True)
    ]


TWO_STAGE = pytest.param({}, {}, id='two-stage')
RETINA = pytest.param(
    {'start_level': 1, 'add_extra_convs': 'on_input'},
    {'extra': 'inputs'},
    id='retinanet',
)
FCOS = pytest.param(
    {
        'start_level': 1,
        'add_extra_convs': 'on_output',
        'relu_before_extra_convs': True,
    },
    {'extra': 'outputs', 'relu': True},
    id='fcos',
)


@pytest.mark.parametrize(
    'sizes',
    [
        pytest.param(SIZES, id='multiples'),
        pytest.param(ODD, id='odd'),
        pytest.param(TINY, id='tiny'),
    ],
)
@pytest.mark.parametrize(('options', 'kind'), [TWO_STAGE, RETINA, FCOS])
def test_maps_and_laterals_are_the_authors(options, kind, sizes):
    neck = build(**options)
    inputs = make_inputs(sizes)
    used = inputs[neck.start_level :]
    maps = neck(inputs)

    state = neck.state_dict()
    expected = aug_fpn.pyramid(used, state, RATIOS, 5, **kind)
    torch.testing.assert_close(list(maps), expected)
    torch.testing.assert_close(
        list(maps.laterals), aug_fpn.laterals_of(used, state)
    )


def test_other_ratios():
    neck = build(pool_ratios=[0.5, 1])
    inputs = make_inputs()
    expected = aug_fpn.pyramid(inputs, neck.state_dict(), (0.5, 1), 5)
    torch.testing.assert_close(list(neck(inputs)), expected)


def test_parameters_of_the_paper():
    neck = AugFPN([256, 512, 1024, 2048], 256, 5)
    plain = FPN([256, 512, 1024, 2048], 256, 5).state_dict()
    extra = {
        name: value.numel()
        for name, value in neck.state_dict().items()
        if name not in plain
    }
    assert extra == {
        'high_lateral_conv.0.weight': 524_288,
        'high_lateral_conv.0.bias': 256,
        'high_lateral_conv.1.weight': 524_288,
        'high_lateral_conv.1.bias': 256,
        'high_lateral_conv.2.weight': 524_288,
        'high_lateral_conv.2.bias': 256,
        'high_lateral_conv_attention.0.weight': 196_608,
        'high_lateral_conv_attention.0.bias': 256,
        'high_lateral_conv_attention.2.weight': 6_912,
        'high_lateral_conv_attention.2.bias': 3,
    }
    missing, unexpected = neck.load_state_dict(plain, strict=False)
    assert set(missing) == set(extra)
    assert not unexpected


def test_init_weights_fills_every_convolution():
    neck = AugFPN(CHANNELS, 8, 5)
    for parameter in neck.parameters():
        torch.nn.init.constant_(parameter, 7)
    neck.init_weights()
    for name, parameter in neck.high_lateral_conv.named_parameters():
        assert (parameter == 0).all() == name.endswith('bias'), name
        # Xavier's uniform: sqrt(6 / (inputs + outputs)).
        assert parameter.abs().max() <= (6 / (7 + 8)) ** 0.5
    assert not any((p == 7).any() for p in neck.parameters() if p.dim() > 1)


def test_without_ratios_it_is_fpn_with_laterals():
    neck = build(pool_ratios=())
    plain = FPN(CHANNELS, 8, 5)
    plain.load_state_dict(neck.state_dict())
    inputs = make_inputs(ODD)
    maps = neck(inputs)
    torch.testing.assert_close(tuple(maps), plain(inputs), rtol=0, atol=0)
    torch.testing.assert_close(
        list(maps.laterals), aug_fpn.laterals_of(inputs, neck.state_dict())
    )


@pytest.mark.parametrize('extra', [True, 'on_input', 'on_lateral'])
def test_extra_convs_are_those_of_fpn(extra):
    neck = build(add_extra_convs=extra, num_outs=6, pool_ratios=())
    plain = FPN(CHANNELS, 8, 6, add_extra_convs=extra)
    plain.load_state_dict(neck.state_dict())
    inputs = make_inputs()
    torch.testing.assert_close(
        tuple(neck(inputs)), plain(inputs), rtol=0, atol=0
    )


def test_end_level_is_inclusive():
    neck = build(start_level=1, end_level=2, num_outs=2)
    inputs = make_inputs()
    expected = aug_fpn.pyramid(inputs[1:3], neck.state_dict(), RATIOS, 2)
    torch.testing.assert_close(list(neck(inputs)), expected)


def test_upsample_cfg():
    options = {'upsample_cfg': {'mode': 'bilinear', 'scale_factor': 2}}
    neck = build(pool_ratios=(), **options)
    plain = FPN(CHANNELS, 8, 5, **options)
    plain.load_state_dict(neck.state_dict())
    inputs = make_inputs()
    torch.testing.assert_close(tuple(neck(inputs)), plain(inputs))


def backward(neck, inputs):
    """Maps, laterals and all gradients of a mixed sum of them."""
    maps = neck(inputs)
    everything = [*maps, *maps.laterals]
    total = sum((i + 1) * x.pow(2).sum() for i, x in enumerate(everything))
    total.backward()
    gradients = [x.grad for x in [*neck.parameters(), *inputs]]
    return everything, gradients


@pytest.mark.parametrize(('options', 'kind'), [TWO_STAGE, RETINA])
def test_checkpointing_recomputes_and_changes_nothing(options, kind):
    neck = build(**options)
    other = build(**options, with_cp=True)
    other.load_state_dict(neck.state_dict())
    calls = []
    other.fpn_convs[0].register_forward_hook(lambda *_: calls.append(1))

    expected = backward(neck, make_inputs(requires_grad=True))
    inputs = make_inputs(requires_grad=True)
    found = backward(other, inputs)

    torch.testing.assert_close(found[0], expected[0], rtol=0, atol=0)
    used = [gradient is not None for gradient in expected[1]]
    assert used == [gradient is not None for gradient in found[1]]
    # Without a first level, its input alone has no gradient.
    assert used.count(False) == neck.start_level
    for one, another in zip(found[1], expected[1], strict=True):
        if one is not None:
            torch.testing.assert_close(one, another)
    assert len(calls) == 2


@pytest.mark.parametrize('with_cp', [False, True])
def test_no_laterals_outside_training(with_cp):
    neck = build(with_cp=with_cp)
    inputs = make_inputs()
    expected = tuple(neck(inputs))
    maps = neck.eval()(inputs)
    assert maps.laterals == ()
    torch.testing.assert_close(tuple(maps), expected)


def test_mixed_precision():
    neck = build()
    inputs = make_inputs()
    expected = neck(inputs)
    with torch.autocast('cpu', torch.bfloat16):
        maps = neck(inputs)
    assert {level.dtype for level in maps} == {torch.bfloat16}
    for level, exact in zip(maps, expected, strict=True):
        error = (level - exact).abs().max() / exact.abs().max()
        assert error < 0.03


def test_pyramid_is_a_tuple_that_keeps_its_laterals():
    maps = FeaturePyramid([torch.zeros(1), torch.ones(1)], [torch.ones(2)])
    for pyramid in (copy.deepcopy(maps), pickle.loads(pickle.dumps(maps))):
        assert isinstance(pyramid, tuple)
        assert len(pyramid) == 2
        torch.testing.assert_close(pyramid.laterals, (torch.ones(2),))
    assert type(maps[:1]) is tuple


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        pytest.param(
            {'num_outs': 3},
            'num_outs=3 is too small: levels 0 to 3 .* 4 maps',
            id='num_outs',
        ),
        pytest.param(
            {'num_outs': 2, 'start_level': 1, 'end_level': -1},
            'num_outs=2 is too small: levels 1 to 3 .* 3 maps',
            id='num_outs-start',
        ),
        pytest.param(
            {'num_outs': 4, 'end_level': 2},
            'num_outs=4 is too large: above end_level=2.* 3 maps',
            id='num_outs-end',
        ),
        pytest.param(
            {'end_level': 4},
            r'end_level=4 is out of range.*\(inclusive\).* to 3, or -1',
            id='end_level-large',
        ),
        pytest.param(
            {'end_level': -2},
            r'end_level=-2 is out of range.*\(inclusive\)',
            id='end_level-negative',
        ),
        pytest.param(
            {'start_level': 2, 'end_level': 1},
            'end_level=1 is out of range.*from start_level=2',
            id='end_level-below-start',
        ),
        pytest.param(
            {'start_level': 4},
            'start_level=4 is out of range: .* 0 to 3',
            id='start_level',
        ),
        pytest.param(
            {'pool_ratios': (0.1, 0)},
            r'pool_ratios .*\(0, 1\], but there is 0 in \(0\.1, 0\)',
            id='ratio-zero',
        ),
        pytest.param(
            {'pool_ratios': [1.5]},
            r'pool_ratios .*\(0, 1\], but there is 1\.5',
            id='ratio-large',
        ),
        pytest.param(
            {'add_extra_convs': 'on_top'},
            "add_extra_convs must be one of .*, not 'on_top'",
            id='add_extra_convs',
        ),
    ],
)
def test_bad_arguments(options, message):
    config = {'type': 'AugFPN', 'in_channels': CHANNELS, 'out_channels': 8}
    with pytest.raises(ValueError, match=message):
        MODELS.build({**config, 'num_outs': 5, **options})


def test_wrong_number_of_inputs():
    with pytest.raises(
        ValueError, match=r'takes 4 maps.*in_channels=\[3, 5, 6, 7\].*got 3'
    ):
        build()(make_inputs()[:3])
