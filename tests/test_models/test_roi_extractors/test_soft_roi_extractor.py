import pytest
import torch
from mmcv.ops import roi_align
from mmdet.registry import MODELS

from mmseg_ext.models.roi_extractors.soft_roi_extractor import (
    SoftRoIExtractor,
)
from references import aug_fpn

pytestmark = pytest.mark.usefixtures('mmdet_scope')

STRIDES = [4, 8, 16, 32]
CHANNELS = 6
CONFIG = {
    'roi_layer': {
        'type': 'RoIAlign',
        'output_size': (7, 5),
        'sampling_ratio': 2,
    },
    'out_channels': CHANNELS,
    'featmap_strides': STRIDES,
}
#: Of two images of 96 x 160: small, large, over the border, of no width.
ROIS = torch.tensor(
    [
        [0, 3.2, 4.1, 30, 40],
        [1, 0, 0, 160, 96],
        [1, 100, 50, 200.5, 120],
        [0, 60, 20, 60, 50],
    ]
)


def build(**options):
    torch.manual_seed(0)
    extractor = SoftRoIExtractor(**{**CONFIG, **options})
    for parameter in extractor.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return extractor


def make_maps(height=96, width=160):
    generator = torch.Generator().manual_seed(1)
    return [
        torch.randn(
            2, CHANNELS, height // s, width // s, generator=generator
        ).requires_grad_()
        for s in STRIDES
    ]


def reference(extractor, maps, rois):
    levels = [
        roi_align(level, rois, (7, 5), 1 / stride, 2)
        for level, stride in zip(maps, STRIDES, strict=False)
    ]
    if 1 < len(maps) < len(STRIDES):
        levels += [torch.zeros_like(levels[0])] * (len(STRIDES) - len(maps))
    state = dict(extractor.named_parameters())
    return aug_fpn.soft_selection(levels, state)


@pytest.mark.parametrize('levels', [1, 2, 3, 4])
def test_values_and_gradients_are_the_authors(levels):
    """Maps that are missing count as zero; from one map nothing is chosen."""
    extractor = build()
    maps = make_maps()[:levels]
    results = [extractor(maps, ROIS), reference(extractor, maps, ROIS)]
    torch.testing.assert_close(*results)

    leaves = [*maps, *extractor.parameters()]
    found = torch.autograd.grad(results[0].pow(2).sum(), leaves)
    expected = torch.autograd.grad(
        results[1].pow(2).sum(),
        leaves,
        allow_unused=True,
        materialize_grads=True,
    )
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    'strides', [pytest.param([4], id='one'), pytest.param(STRIDES, id='more')]
)
def test_single_map_is_read_as_by_single_roi_extractor(strides):
    config = {**CONFIG, 'featmap_strides': strides}
    single = MODELS.build({'type': 'SingleRoIExtractor', **config})
    maps = make_maps()[:1]
    found = build(featmap_strides=strides)(maps, ROIS)
    torch.testing.assert_close(found, single(maps, ROIS), rtol=0, atol=0)


def test_scaled_rois():
    """Twice as wide and high, about the same center."""
    extractor = build()
    maps = make_maps()
    rois = torch.tensor([[0, 40, 30, 60, 40], [1, 10, 20, 30, 50.0]])
    scaled = torch.tensor([[0, 30, 25, 70, 45], [1, 0, 5, 40, 65.0]])
    torch.testing.assert_close(
        extractor(maps, rois, roi_scale_factor=2), extractor(maps, scaled)
    )


@pytest.mark.parametrize('levels', [1, 3, 4])
def test_no_rois(levels):
    """Nothing comes out, and all take part in the backward pass."""
    extractor = build()
    maps = make_maps()[:levels]
    result = extractor(maps, ROIS[:0])
    assert result.shape == (0, CHANNELS, 7, 5)
    result.sum().backward()
    for leaf in [*maps, *extractor.parameters()]:
        assert (leaf.grad == 0).all()


def test_takes_the_place_of_single_roi_extractor():
    config = {
        'type': 'SingleRoIExtractor',
        'roi_layer': {'type': 'RoIAlign', 'output_size': 14},
        'out_channels': 256,
        'featmap_strides': STRIDES,
        'finest_scale': 56,
    }
    single = MODELS.build(config)
    soft = MODELS.build({**config, 'type': 'SoftRoIExtractor'})
    assert soft.num_inputs == single.num_inputs
    assert str(soft.roi_layers) == str(single.roi_layers)
    assert {k: v.numel() for k, v in soft.state_dict().items()} == {
        'spatial_attention_conv.0.weight': 262_144,
        'spatial_attention_conv.0.bias': 256,
        'spatial_attention_conv.2.weight': 9_216,
        'spatial_attention_conv.2.bias': 4,
    }


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16])
@pytest.mark.parametrize('levels', [1, 4])
def test_half_precision_reads_at_the_right_place(dtype, levels):
    """At 1300 pixels bfloat16 knows multiples of 8 only."""
    extractor = build()
    maps = make_maps(64, 1344)[:levels]
    rois = torch.tensor([[0, 1281.7, 10.3, 1307.4, 40.9]])
    expected = extractor(maps, rois)
    with torch.autocast('cpu', dtype):
        result = extractor([level.to(dtype) for level in maps], rois)
    assert result.dtype == dtype
    error = (result - expected).abs().max() / expected.abs().max()
    assert error < 0.03
    (gradient,) = torch.autograd.grad(result.float().sum(), maps[0])
    assert gradient.isfinite().all()


@pytest.mark.parametrize('levels', [0, 5])
def test_wrong_number_of_maps(levels):
    maps = [*make_maps(), torch.zeros(2, CHANNELS, 2, 2)][:levels]
    expected = rf'1 to 4 maps.*featmap_strides=\[4, 8, 16, 32\].*got {levels}'
    with pytest.raises(ValueError, match=expected):
        build()(maps, ROIS)
