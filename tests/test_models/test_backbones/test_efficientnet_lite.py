import copy
import importlib.util

import mmdet.registry
import mmengine.registry
import mmseg.registry
import pytest
import torch
from mmengine.config import ConfigDict
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from mmseg_ext.models.backbones import EfficientNetLite
from references import efficientnet_lite as reference

ARCHS = ('lite0', 'lite1', 'lite2')

#: Odd and even, so that strides of 2 pad both ways at each stage.
SIZES = ((45, 66), (64, 33), (1, 1), (1, 38))

#: Of timm 1.0.31's ``tf_efficientnet_*``; see :func:`checksum`.
TIMM = {
    'lite0': (86.7338285525, -45.9485627974, -125.524215206, 73.238654886),
    'lite1': (75.3238724401, -47.9825345946, 32.3480446065, -33.5459421838),
    'lite2': (75.3238724401, -82.0980860144, -65.5614779855, 84.5382202048),
}


def build(arch='lite0', **options):
    """Return a backbone whose weights are the same on every machine."""
    backbone = EfficientNetLite(arch, **options)
    load(backbone, arch)
    return backbone


def load(module, arch):
    """Load weights by a formula; names differ, the order does not."""
    weights = map(torch.from_numpy, reference.formula_weights(arch).values())
    names = list(module.state_dict())
    module.load_state_dict(dict(zip(names, weights, strict=True)))


def images(*sizes, dtype=torch.float32):
    """Return a batch of as many images as sizes, of the first one's size."""
    height, width = sizes[0]
    pixels = reference.image(len(sizes) * height, width)
    batch = torch.from_numpy(pixels).unflatten(1, (len(sizes), height))
    return batch.transpose(0, 1).to(dtype)


BATCH = images((45, 66), (45, 66))


def checksum(values):
    """Return a sum that depends on each value and on its place."""
    places = reference.formula(tuple(values.shape[1:]), 11)
    return float((values.detach()[0].numpy() * places).sum())


def statistics(module):
    return {
        name: value.clone()
        for name, value in module.named_buffers()
        if value.numel()
    }


def loss_of(maps):
    """Return a loss to which each value of each map matters."""
    return sum(
        (
            values.float()
            * torch.cos(torch.arange(values[0].numel()) * 1.0).reshape(
                values.shape[1:]
            )
        ).sum()
        for values in maps
    )


@pytest.mark.parametrize(
    ('arch', 'size'),
    [
        *(('lite0', size) for size in SIZES),
        *(('lite1', SIZES[0]), ('lite2', SIZES[0])),
    ],
    ids=str,
)
@torch.no_grad()
def test_maps_are_those_of_tensorflow(arch, size):
    backbone = build(arch).eval().double()
    found = backbone(images(size, dtype=torch.float64))

    expected = reference.maps(
        reference.image(*size), reference.formula_weights(arch), arch
    )
    assert backbone.out_channels == [len(values) for values in expected]
    for values, those in zip(found, expected, strict=True):
        torch.testing.assert_close(values[0], torch.from_numpy(those))
    for values, stride in zip(found, (4, 8, 16, 32), strict=True):
        assert values.shape[2:] == tuple(-(-n // stride) for n in size)


@pytest.mark.parametrize('arch', ARCHS)
@torch.no_grad()
def test_sums_are_those_of_timm(arch):
    maps = build(arch).eval().double()(images(SIZES[0], dtype=torch.float64))
    assert [checksum(m) for m in maps] == pytest.approx(TIMM[arch], rel=1e-9)


@pytest.mark.skipif(importlib.util.find_spec('timm') is None, reason='no timm')
@pytest.mark.parametrize('arch', ARCHS)
@torch.no_grad()
def test_maps_are_those_of_timm(arch, torchvision):
    """This also shows where the stored sums come from."""
    timm = pytest.importorskip('timm')
    name = f'tf_efficientnet_{arch}'
    other = timm.create_model(name, features_only=True).eval()
    weights = reference.formula_weights(arch)
    whole = list(timm.create_model(name).state_dict())[: len(weights)]
    other.load_state_dict(
        dict(zip(whole, map(torch.from_numpy, weights.values()), strict=True))
    )
    backbone, other = build(arch).eval().double(), other.double()
    # In 32 bits the channels-last layout rounds sums differently.
    for size in SIZES:
        batch = images(size, dtype=torch.float64)
        # The first of timm's is the one at stride 2.
        for values, those in zip(
            backbone(batch), other(batch)[1:], strict=True
        ):
            torch.testing.assert_close(values, those, rtol=1e-9, atol=1e-12)
    maps = other(images(SIZES[0], dtype=torch.float64))[1:]
    assert [checksum(m) for m in maps] == pytest.approx(TIMM[arch], rel=1e-9)


@pytest.mark.parametrize('arch', ARCHS)
def test_names_of_weights(arch):
    """They are those of the packages without leading underscores."""
    found = EfficientNetLite(arch).state_dict()
    assert {name: tuple(value.shape) for name, value in found.items()} == {
        name.replace('._', '.').lstrip('_'): shape
        for name, shape in reference.shapes(arch).items()
    }


def test_layout_changes_nothing_but_time(monkeypatch):
    """Within, channels come last on a CPU; other parts need not know."""
    results = []
    for layout in (torch.channels_last, torch.contiguous_format):
        monkeypatch.setattr(torch, 'channels_last', layout)
        backbone = build().train().double()
        inside = []
        backbone.blocks[4].register_forward_hook(
            lambda *args, inside=inside: inside.append(args[-1])
        )
        maps = backbone(BATCH.double())
        loss_of(maps).backward()
        assert inside[0].is_contiguous(memory_format=layout)
        # RoIAlign of MMCV gives other values for other maps.
        assert all(values.is_contiguous() for values in maps)
        gradients = {n: p.grad for n, p in backbone.named_parameters()}
        results.append((maps, gradients, statistics(backbone)))
    torch.testing.assert_close(*results)


@pytest.mark.filterwarnings('ignore::torch.jit.TracerWarning')
@torch.no_grad()
def test_trace():
    backbone = build().eval()
    traced = torch.jit.trace(backbone, BATCH[:1])
    torch.testing.assert_close(traced(BATCH), backbone(BATCH))


@torch.no_grad()
def test_only_the_maps_asked_for():
    every = build().eval()(BATCH)
    some = build(out_indices=(0, 2)).eval()
    assert some.out_channels == [24, 112]
    torch.testing.assert_close(some(BATCH), (every[0], every[2]))


def test_what_no_map_needs_is_not_trained():
    backbone = build(out_indices=[1]).train()
    loss_of(backbone(BATCH)).backward()
    trained = [p for p in backbone.parameters() if p.requires_grad]
    assert all(p.grad is not None for p in trained)
    # Of the five blocks to stride 8, one has two convolutions and norms.
    assert len(trained) == 3 + 6 + 4 * 9


#: Blocks in the stem's part and in the first so many stages.
FROZEN = {-1: -1, 0: 0, 1: 3, 2: 5, 3: 11, 4: 16}


@pytest.mark.parametrize(('frozen', 'blocks'), FROZEN.items())
def test_frozen_stages(frozen, blocks):
    backbone = build(frozen_stages=frozen)
    backbone.eval()
    backbone.train()
    before = copy.deepcopy(backbone.state_dict())
    optimizer = torch.optim.SGD(backbone.parameters(), lr=1e-3)
    maps = backbone(BATCH)
    if frozen < 4:
        loss_of(maps).backward()
    optimizer.step()

    same = {
        name
        for name, value in backbone.state_dict().items()
        if torch.equal(value, before[name])
    }
    assert same == {
        name
        for name in before
        if frozen >= 0
        and (
            name.startswith(('conv_stem.', 'bn0.'))
            or int(name.split('.')[1]) < blocks
        )
    }
    for name, value in backbone.named_parameters():
        assert (value.grad is None) == (name in same) != value.requires_grad


def test_norm_eval_keeps_statistics_and_trains_weights():
    backbone = build(norm_eval=True).train()
    before = statistics(backbone)
    loss_of(backbone(BATCH)).backward()
    torch.testing.assert_close(statistics(backbone), before, rtol=0, atol=0)
    assert all(p.grad is not None for p in backbone.parameters())
    assert backbone.training
    assert backbone.blocks.training


@pytest.mark.parametrize(
    'options',
    [
        {},
        {'frozen_stages': 1},
        {'norm_eval': True},
        {'norm_cfg': {'type': 'BN', 'momentum': None}},
        {'norm_cfg': {'type': 'BN', 'track_running_stats': False}},
        {'norm_cfg': {'type': 'GN', 'num_groups': 8}},
    ],
    ids=str,
)
def test_checkpointing_changes_nothing_but_memory(options, monkeypatch):
    plain = EfficientNetLite(**options)
    plain.init_weights()
    saving = EfficientNetLite(**options, with_cp=True)
    saving.load_state_dict(plain.state_dict())
    results = []
    for backbone in (plain, saving):
        calls = []
        for block in backbone.blocks:
            block.project_conv.register_forward_hook(
                lambda *_, calls=calls: calls.append(1)
            )
        maps = backbone.train()(BATCH)
        loss_of(maps).backward()
        gradients = {n: p.grad for n, p in backbone.named_parameters()}
        results.append((maps, gradients, statistics(backbone), len(calls)))
    *expected, once = results[0]
    *found, calls = results[1]
    torch.testing.assert_close(found, expected, rtol=0, atol=0)
    assert calls == once + 16 - (3 if 'frozen_stages' in options else 0)
    for one, other in zip(plain.modules(), saving.modules(), strict=True):
        if isinstance(one, _BatchNorm):
            assert other.momentum == one.momentum


def test_momentum_and_epsilon_are_those_of_tensorflow():
    norms = [
        module
        for module in EfficientNetLite().modules()
        if isinstance(module, nn.BatchNorm2d)
    ]
    assert len(norms) == 1 + 2 + 15 * 3
    assert {(norm.momentum, norm.eps) for norm in norms} == {(0.01, 1e-3)}
    own = EfficientNetLite(norm_cfg={'type': 'BN', 'momentum': 0.1})
    assert (own.bn0.momentum, own.bn0.eps) == (0.1, 1e-3)


@torch.no_grad()
def test_synchronized_norm_has_the_same_weights_and_maps():
    norm = {'type': 'SyncBN', 'requires_grad': True}
    backbone = build(norm_cfg=norm, norm_eval=True).train()
    assert isinstance(backbone.blocks[3].bn1, nn.SyncBatchNorm)
    assert not backbone.blocks[3].bn1.training
    assert backbone.bn0.momentum == 0.01
    # Outside of training it runs on a CPU, too.
    torch.testing.assert_close(backbone.eval()(BATCH), build().eval()(BATCH))


def test_group_norm_in_a_batch_of_one_pixel():
    backbone = EfficientNetLite(norm_cfg={'type': 'GN', 'num_groups': 8})
    backbone.init_weights()
    loss_of(backbone.train()(images((1, 1)))).backward()
    assert backbone.conv_stem.weight.grad.abs().sum() > 0


def test_bfloat16():
    # Statistics of so few pixels would make the most of each rounding.
    backbone = build(norm_eval=True).train()
    exact = backbone(BATCH)
    with torch.autocast('cpu', torch.bfloat16):
        maps = backbone(BATCH)
        loss_of(maps).backward()
    for values, those in zip(maps, exact, strict=True):
        assert values.dtype == torch.bfloat16
        error = (values.float() - those).abs().mean() / those.abs().mean()
        assert error < 0.1
    for value in backbone.parameters():
        assert value.grad.dtype == torch.float32
        assert value.grad.isfinite().all()


def test_random_start():
    torch.manual_seed(0)
    backbone = EfficientNetLite()
    backbone.init_weights()
    for module in backbone.modules():
        if isinstance(module, nn.Conv2d) and module.weight.numel() > 10_000:
            inputs = module.weight[0].numel()
            expected = (2 / inputs) ** 0.5
            spread = float(module.weight.detach().std())
            assert spread == pytest.approx(expected, rel=0.05)
        if isinstance(module, _BatchNorm):
            assert (module.weight == 1).all()
            assert (module.bias == 0).all()


@pytest.mark.parametrize(
    'registry', [mmengine.registry, mmseg.registry, mmdet.registry], ids=str
)
def test_all_registries_find_it(registry):
    found = registry.MODELS.build({'type': 'EfficientNetLite'})
    assert type(found) is EfficientNetLite


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (
            {'arch': 'b0'},
            "^arch: expected one of 'lite0', 'lite1', 'lite2', got 'b0'$",
        ),
        ({'arch': ['lite0']}, r"^arch: .* got \['lite0'\]$"),
        (
            {'out_indices': (0, 4)},
            r'^out_indices: expected one or more of the integers 0 to 3, '
            r'rising, got \(0, 4\)$',
        ),
        ({'out_indices': (1, 0)}, r'^out_indices: .* got \(1, 0\)$'),
        ({'out_indices': (1, 1)}, r'^out_indices: .* got \(1, 1\)$'),
        ({'out_indices': (-1,)}, r'^out_indices: .* got \(-1,\)$'),
        ({'out_indices': ()}, r'^out_indices: .* got \(\)$'),
        ({'out_indices': 3}, '^out_indices: .* got 3$'),
        ({'out_indices': 'all'}, "^out_indices: .* got 'all'$"),
        ({'out_indices': [0.0, 1]}, r'^out_indices: .* got \[0.0, 1\]$'),
        ({'out_indices': (True, 2)}, r'^out_indices: .* got \(True, 2\)$'),
        (
            {'frozen_stages': 5},
            '^frozen_stages: expected an integer from -1 to 4, got 5$',
        ),
        ({'frozen_stages': 1.0}, '^frozen_stages: .* got 1.0$'),
        ({'frozen_stages': True}, '^frozen_stages: .* got True$'),
        ({'frozen_stages': 1.5}, '^frozen_stages: .* got 1.5$'),
        ({'frozen_stages': None}, '^frozen_stages: .* got None$'),
        (
            {'norm_eval': 'False'},
            "^norm_eval: expected True or False, got 'False'$",
        ),
        ({'with_cp': 'no'}, "^with_cp: expected True or False, got 'no'$"),
        (
            {'norm_cfg': 'BN'},
            r"^norm_cfg: expected the type of .* dict\(type='BN'\), got 'BN'$",
        ),
        ({'norm_cfg': {}}, '^norm_cfg: .* got {}$'),
        ({'norm_cfg': {'type': 'XN'}}, "^norm_cfg: .* got {'type': 'XN'}$"),
        ({'norm_cfg': {'type': 'GN'}}, "^norm_cfg: .* got {'type': 'GN'}$"),
        (
            {'norm_cfg': {'type': 'BN', 'x': 1}},
            r"^norm_cfg: .* argument 'x'\)$",
        ),
    ],
)
def test_wrong_arguments(options, message):
    with pytest.raises(ValueError, match=message):
        EfficientNetLite(**options)


def test_weights_of_a_base_config():
    """Semantic FPN of MMSeg has those of ResNet, and hands them on."""
    model = ConfigDict(
        type='EncoderDecoder',
        pretrained='open-mmlab://resnet50_v1c',
        backbone={'type': 'EfficientNetLite'},
        decode_head={'type': 'FCNHead', 'in_channels': 320},
    )
    expected = (
        "pretrained: expected None, got 'open-mmlab://resnet50_v1c'; .* set "
        'model.pretrained=None, and weights in model.backbone.init_cfg'
    )
    with pytest.raises(ValueError, match=expected):
        mmseg.registry.MODELS.build(model)
