"""The loss against PyTorch's, alone and in MMSeg's heads."""

import json
import math
from itertools import product

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from mmengine.structures import PixelData
from mmseg.registry import MODELS
from mmseg.structures import SegDataSample
from mmseg.utils import register_all_modules

from mmseg_ext.models import BalancedCrossEntropy

WEIGHTS = [0.5, 2.0, 1.0, 6.0, 0.0]

#: What logits heads hand over: images, points, and one row an image.
SHAPES = [(2, 5, 7, 9), (3, 5, 20), (8, 5)]


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


def make_batch(shape=SHAPES[0], ignored=255, share=0.3):
    logits = torch.randn(shape) * 3
    label = torch.randint(0, shape[1], (shape[0], *shape[2:]))
    label[torch.rand(label.shape) < share] = ignored
    return logits, label


def with_gradient(function, logits):
    """Return value and gradient."""
    logits = logits.clone().requires_grad_()
    value = function(logits)
    value.backward()
    return value.detach(), logits.grad


def check_equal(found, expected):
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize('shape', SHAPES, ids=str)
@pytest.mark.parametrize('weights', [None, WEIGHTS], ids=['', 'weights'])
@pytest.mark.parametrize('smoothing', [0.0, 0.1], ids=['', 'smooth'])
def test_equals_that_of_pytorch(shape, weights, smoothing):
    loss = BalancedCrossEntropy(weights, label_smoothing=smoothing)
    logits, label = make_batch(shape)
    tensor = torch.tensor(weights) if weights else None

    def check(**options):
        check_equal(
            with_gradient(
                lambda x: loss(x, label, ignore_index=255, **options), logits
            ),
            with_gradient(
                lambda x: F.cross_entropy(
                    x,
                    label,
                    tensor,
                    ignore_index=255,
                    label_smoothing=smoothing,
                    reduction=options.get('reduction_override', 'mean'),
                ),
                logits,
            ),
        )

    check()
    check(reduction_override='sum')


def test_mean_by_hand():
    """Two pixels that count, of weights 2 and 6, and one that is ignored."""
    loss = BalancedCrossEntropy([2, 6], loss_weight=0.5)
    logits = torch.tensor([[[1.0, 0.0, 9.0], [0.0, 3.0, 1.0]]])
    label = torch.tensor([[0, 1, 255]])
    first, second = math.log1p(math.exp(-1)), math.log1p(math.exp(-3))
    expected = 0.5 * (2 * first + 6 * second) / 8
    assert loss(logits, label).item() == pytest.approx(expected)


def test_one_loss_a_pixel():
    loss = BalancedCrossEntropy(WEIGHTS, reduction='none')
    logits, label = make_batch()
    found = loss(logits, label)
    assert (found[label == 255] == 0).all()
    expected = F.cross_entropy(
        logits,
        label,
        torch.tensor(WEIGHTS),
        ignore_index=255,
        reduction='none',
    )
    torch.testing.assert_close(found, expected)


def test_given_number_to_divide_by():
    logits, label = make_batch()
    total = BalancedCrossEntropy(WEIGHTS, reduction='sum')(logits, label)
    loss = BalancedCrossEntropy(WEIGHTS)
    found = loss(logits, label, avg_factor=7)
    assert found.item() == pytest.approx(total.item() / 7)
    with pytest.raises(ValueError, match='avg_factor'):
        loss(logits, label, avg_factor=7, reduction_override='sum')


def test_weights_of_pixels():
    """Only the pixels count that a sampler has chosen."""
    logits, label = make_batch()
    chosen = torch.rand(label.shape) < 0.5
    found = BalancedCrossEntropy(WEIGHTS)(
        logits, label, weight=chosen.float(), ignore_index=255
    )
    expected = F.cross_entropy(
        logits,
        label.where(chosen, 255),
        torch.tensor(WEIGHTS),
        ignore_index=255,
    )
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize(
    'options',
    [{}, dict(class_weight=WEIGHTS), dict(ohem_thresh=0.7)],
    ids=str,
)
@pytest.mark.parametrize('smoothing', [0.0, 0.2])
def test_nothing_counts(options, smoothing):
    loss = BalancedCrossEntropy(**options, label_smoothing=smoothing)
    logits, label = make_batch()
    values = [255, 4] if 'class_weight' in options else [255]
    for value in values:  # ignored, and a class of weight 0
        label[:] = value
        value, gradient = with_gradient(lambda x: loss(x, label), logits)
        assert value == 0
        assert (gradient == 0).all()


def test_ignored_label_of_the_head_comes_first():
    logits, label = make_batch(ignored=-100)
    loss = BalancedCrossEntropy(ignore_index=7)
    expected = F.cross_entropy(logits, label)
    found = loss(logits, label, ignore_index=-100)
    torch.testing.assert_close(found, expected)
    label[label == -100] = 7
    torch.testing.assert_close(loss(logits, label), expected)


# Hard pixels.


def naive_hard(logits, label, thresh, share):
    """Return which pixels are kept, by sorting them in Python."""
    probabilities = logits.softmax(1)
    pixels = []
    for image, y, x in product(*map(range, label.shape)):
        index = label[image, y, x].item()
        if index != 255 and WEIGHTS[index]:
            own = probabilities[image, index, y, x].item()
            pixels.append((own, (image, y, x)))
    pixels.sort()
    least = math.ceil(len(pixels) * share)
    kept = torch.zeros(label.shape, dtype=torch.bool)
    for number, (own, place) in enumerate(pixels):
        kept[place] = own < thresh or number < least
    return kept


@pytest.mark.parametrize('thresh', [0.0, 0.05, 0.7, 1.0])
@pytest.mark.parametrize('share', [0.01, 1 / 16, 0.5, 1.0])
def test_hard_pixels(thresh, share):
    logits, label = make_batch()
    kept = naive_hard(logits, label, thresh, share)
    loss = BalancedCrossEntropy(
        WEIGHTS, ohem_thresh=thresh, ohem_min_kept=share, label_smoothing=0.1
    )
    check_equal(
        with_gradient(lambda x: loss(x, label), logits),
        with_gradient(
            lambda x: F.cross_entropy(
                x,
                label.where(kept, 255),
                torch.tensor(WEIGHTS),
                ignore_index=255,
                label_smoothing=0.1,
            ),
            logits,
        ),
    )


def test_hard_pixels_tell_something_else():
    """By default a sixteenth, of all images together."""
    logits, label = make_batch((2, 5, 8, 8), share=0)
    logits[0].scatter_(0, label[:1], 20)  # the first image is easy
    loss = BalancedCrossEntropy(ohem_thresh=0.0, reduction='none')
    kept = loss(logits, label) > 0
    assert kept.sum() == 8
    assert not kept[0].any()


# Precision.


@pytest.mark.parametrize('kind', [torch.bfloat16, torch.float16])
@pytest.mark.parametrize('options', [{}, dict(ohem_thresh=0.7)], ids=str)
def test_half_precision(kind, options):
    """Of large logits as well; those of half precision are exact in 32."""
    loss = BalancedCrossEntropy(WEIGHTS, label_smoothing=0.1, **options)
    logits, label = make_batch((2, 5, 64, 64))
    logits = (logits * 5_000).clamp(-60_000, 60_000).to(kind)
    with torch.autocast('cpu', dtype=torch.bfloat16):
        value, gradient = with_gradient(lambda x: loss(x, label), logits)
    assert value.dtype == torch.float32
    assert torch.isfinite(value)
    assert gradient.dtype == kind
    assert torch.isfinite(gradient).all()
    exact, slope = with_gradient(lambda x: loss(x, label), logits.float())
    torch.testing.assert_close(value, exact)
    torch.testing.assert_close(gradient, slope.to(kind))


@pytest.mark.skipif(not torch.cuda.is_available(), reason='needs a GPU')
@pytest.mark.parametrize(
    'options', [{}, dict(ohem_thresh=0.7, ohem_min_kept=0.3)], ids=str
)
def test_gpu(options):
    loss = BalancedCrossEntropy(WEIGHTS, label_smoothing=0.1, **options)
    logits, label = make_batch((2, 5, 64, 64))
    logits = (logits * 5_000).clamp(-60_000, 60_000).half()
    expected, slope = with_gradient(lambda x: loss(x, label), logits.float())
    with torch.autocast('cuda', dtype=torch.float16):
        value, gradient = with_gradient(
            lambda x: loss(x, label.cuda()), logits.cuda()
        )
    torch.testing.assert_close(value.cpu(), expected)
    torch.testing.assert_close(gradient.cpu(), slope.half())


# In heads.


def make_samples(num, size, classes):
    return [
        SegDataSample(
            gt_sem_seg=PixelData(
                data=torch.randint(0, classes, (1, size, size))
            )
        )
        for _ in range(num)
    ]


def make_head(kind, loss, **options):
    register_all_modules(False)
    return MODELS.build(
        dict(
            type=kind,
            **{'in_channels': 8, 'channels': 4, 'num_classes': 5} | options,
            loss_decode=loss,
        )
    )


LOSS = dict(
    type='BalancedCrossEntropy', class_weight=WEIGHTS, label_smoothing=0.1
)


def expect(logits, label):
    logits = F.interpolate(
        logits, label.shape[1:], mode='bilinear', align_corners=False
    )
    return F.cross_entropy(
        logits,
        label,
        torch.tensor(WEIGHTS),
        ignore_index=255,
        label_smoothing=0.1,
    )


@pytest.mark.parametrize(
    ('kind', 'options'),
    [
        ('FCNHead', {}),
        ('SegformerHead', dict(in_channels=[8, 8], in_index=[0, 1])),
        (
            'FPNHead',
            dict(
                in_channels=[8, 8],
                in_index=[0, 1],
                feature_strides=[4, 8],
                channels=8,
            ),
        ),
        ('DNLHead', {}),
        ('DepthwiseSeparableFCNHead', {}),
    ],
)
def test_heads(kind, options):
    head = make_head(kind, LOSS, **options).eval()
    samples = make_samples(2, 16, 5)
    samples[0].gt_sem_seg.data[:, :4] = 255
    inputs = [torch.randn(2, 8, 8, 8), torch.randn(2, 8, 4, 4)]
    if 'in_index' not in options:
        inputs = [inputs[0]]
    losses = head.loss(inputs, samples, {})
    label = torch.cat([sample.gt_sem_seg.data for sample in samples])
    torch.testing.assert_close(losses['loss_ce'], expect(head(inputs), label))


def test_several_losses_of_a_head_add_up():
    other = LOSS | dict(label_smoothing=0.0, loss_weight=2.0)
    head = make_head('FCNHead', [LOSS, other]).eval()
    inputs, samples = [torch.randn(2, 8, 8, 8)], make_samples(2, 8, 5)
    label = torch.cat([sample.gt_sem_seg.data for sample in samples])
    plain = F.cross_entropy(head(inputs), label, torch.tensor(WEIGHTS))
    torch.testing.assert_close(
        head.loss(inputs, samples, {})['loss_ce'],
        expect(head(inputs), label) + 2 * plain,
    )


@pytest.mark.parametrize('thresh', [0.5, None])
def test_sampler_of_pixels(thresh):
    sampler = dict(type='OHEMPixelSampler', thresh=thresh, min_kept=20)
    loss = dict(type='BalancedCrossEntropy')
    head = make_head('FCNHead', loss, sampler=sampler).eval()
    inputs, samples = [torch.randn(2, 8, 8, 8)], make_samples(2, 8, 5)
    label = torch.cat([sample.gt_sem_seg.data for sample in samples])
    losses = F.cross_entropy(head(inputs), label, reduction='none').flatten()
    hardest = losses.sort(descending=True).values
    own = torch.exp(-hardest)
    kept = 40 if thresh is None else max(40, int((own < thresh).sum()))
    torch.testing.assert_close(
        head.loss(inputs, samples, {})['loss_ce'], hardest[:kept].mean()
    )


def test_points():
    options = dict(in_channels=[8], in_index=[0], num_fcs=1)
    head = make_head('PointHead', LOSS, **options).eval()
    samples = make_samples(2, 8, 5)
    ys, xs = torch.randint(0, 8, (2, 2, 12))
    points = (torch.stack([xs, ys], dim=-1) + 0.5) / 8
    logits = torch.randn(2, 5, 12)
    found = head.loss_by_feat(logits, points, samples)['pointloss_ce']
    label = torch.stack(
        [
            sample.gt_sem_seg.data[0][y, x]
            for sample, y, x in zip(samples, ys, xs, strict=True)
        ]
    )
    expected = F.cross_entropy(
        logits, label, torch.tensor(WEIGHTS), label_smoothing=0.1
    )
    torch.testing.assert_close(found, expected)


def test_heads_that_do_not_say_what_is_ignored():
    """As DDRHead, and PIDHead in two of its losses."""
    head = make_head('DDRHead', [LOSS, LOSS], num_classes=5).train()
    samples = make_samples(2, 16, 5)
    samples[1].gt_sem_seg.data[:, 2:9] = 255
    label = torch.cat([sample.gt_sem_seg.data for sample in samples])
    logits = torch.randn(2, 5, 8, 8), torch.randn(2, 5, 4, 4)
    losses = head.loss_by_feat(logits, samples)
    for name, part in zip(('context', 'spatial'), logits, strict=True):
        torch.testing.assert_close(losses[f'loss_{name}'], expect(part, label))


def test_context_encoding():
    """EncHead has a second loss, of another kind."""
    head = make_head(
        'EncHead',
        LOSS,
        in_channels=[8],
        in_index=[0],
        num_codes=2,
        use_se_loss=True,
        norm_cfg=dict(type='BN'),
    )
    samples = make_samples(2, 8, 5)
    losses = head.loss([torch.randn(2, 8, 8, 8)], samples, {})
    assert {'loss_ce', 'loss_se'} <= set(losses)
    with pytest.raises(ValueError, match=r'labels \(N, ...\), got \(2, 5\)'):
        BalancedCrossEntropy()(torch.randn(2, 5), torch.ones(2, 5).long())


def test_binary_head():
    head = make_head('FCNHead', LOSS, num_classes=2, out_channels=1)
    inputs, samples = [torch.randn(2, 8, 8, 8)], make_samples(2, 8, 2)
    with pytest.raises(ValueError, match=r'CrossEntropyLoss.*use_sigmoid'):
        head.loss(inputs, samples, {})


def test_one_class():
    loss = dict(LOSS, class_weight=None)
    head = make_head('FCNHead', loss, num_classes=1)
    inputs, samples = [torch.randn(2, 8, 8, 8)], make_samples(2, 8, 1)
    message = r"classes=\('background', 'a'\) with num_classes=2; "
    with pytest.raises(ValueError, match=message):
        head.loss(inputs, samples, {})
    # What it proposes.
    make_head('FCNHead', loss, num_classes=2).loss(
        inputs, make_samples(2, 8, 2), {}
    )


# Arguments.


def test_files(tmp_path):
    path = tmp_path / 'weights.json'
    path.write_text(json.dumps(WEIGHTS))
    assert BalancedCrossEntropy(str(path)).class_weight == tuple(WEIGHTS)
    np.save(tmp_path / 'weights.npy', np.array(WEIGHTS, np.float32))
    loss = BalancedCrossEntropy(str(tmp_path / 'weights.npy'))
    assert loss.class_weight == tuple(WEIGHTS)


@pytest.mark.parametrize(
    ('name', 'content', 'message'),
    [
        ('w.pkl', b'', "expected a rule .*median_frequency.* file .*'?.json"),
        ('w.json', b'{"a": 1}', 'w.json, .* holds no weights'),
        ('w.json', b'[1, "x"]', 'w.json'),
        ('w.json', b'[1, "2"]', 'w.json'),
        ('w.json', b'[true, false]', 'w.json'),
        ('w.json', b'[]', r'w.json, .* got \[\]'),
        ('w.json', b'[1, 2', 'w.json'),
        ('w.json', b'', 'w.json'),
        ('w.npy', b'', 'w.npy'),
        ('w.npy', b'\x93NUMPY', 'w.npy'),
        ('w.json', b'[1, -2]', 'class_weight must be numbers of 0'),
    ],
)
def test_wrong_files(tmp_path, name, content, message):
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(ValueError, match=message):
        BalancedCrossEntropy(str(path))


@pytest.mark.parametrize(
    'array', [[1 + 1j, 1], ['1', '2'], [True, False], [], [[1, 2]]], ids=str
)
def test_wrong_arrays(tmp_path, array):
    path = tmp_path / 'w.npy'
    np.save(path, np.array(array))
    with pytest.raises(ValueError, match=r'w\.npy, .* holds no weights'):
        BalancedCrossEntropy(str(path))


def test_several_arrays(tmp_path):
    np.savez(tmp_path / 'w.npz', np.array(WEIGHTS))
    path = (tmp_path / 'w.npz').rename(tmp_path / 'w.npy')
    with pytest.raises(ValueError, match=r'w\.npy, .* holds no weights'):
        BalancedCrossEntropy(str(path))


@pytest.mark.parametrize('name', ['none.json', 'none.npy'])
def test_missing_file(tmp_path, name):
    message = rf"^class_weight='.*{name}' cannot be read: No such file"
    with pytest.raises(FileNotFoundError, match=message):
        BalancedCrossEntropy(str(tmp_path / name))


def test_the_largest_weights_are_finite():
    logits, label = make_batch()
    loss = BalancedCrossEntropy([1e30] * 5)(logits, label)
    expected = BalancedCrossEntropy()(logits, label)
    assert loss.item() == pytest.approx(expected.item())


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (dict(class_weight=[1, -1]), r'0 or above, .* got \[1, -1\]'),
        (dict(class_weight=[1, math.nan]), 'class_weight'),
        (dict(class_weight=[1, math.inf]), 'class_weight'),
        (dict(class_weight=[0.0, 0.0]), 'not all 0'),
        (dict(class_weight=[]), 'class_weight'),
        (dict(class_weight=[[1, 2]]), 'class_weight'),
        (dict(class_weight=['a', 'b']), 'class_weight'),
        (dict(class_weight=3), 'class_weight'),
        (dict(class_weight=['1', '2']), 'class_weight'),
        (dict(class_weight=[True, False]), 'class_weight'),
        (dict(class_weight=[[1], [1, 2]]), 'class_weight'),
        # Those of 32 bits are 0 or infinite.
        (dict(class_weight=[1e-50, 0]), 'not all 0'),
        (dict(class_weight=[1, 1e39]), r'at most 1e\+30 .* got \[1, 1e\+39\]'),
        (dict(class_weight=[10**400, 1]), 'class_weight'),
        (dict(class_weight='frequency'), "class_weight='frequency': expected"),
        (
            dict(class_weight='median_frequency', weight_bounds=(2, 1)),
            r'weight_bounds=\(2, 1\): expected the least',
        ),
        (dict(class_weight=[1, 1], weight_bounds=(1, 2)), 'for a rule'),
        (dict(label_smoothing=1.5), '^label_smoothing=1.5: .* from 0 to 1'),
        (dict(label_smoothing='a'), "^label_smoothing='a': .* from 0 to 1"),
        (dict(ohem_thresh=70), '^ohem_thresh=70: .* from 0 to 1'),
        (dict(ohem_thresh='0.7'), "^ohem_thresh='0.7': .* from 0 to 1"),
        (dict(ohem_min_kept=0), '^ohem_min_kept=0: .* above 0, at most 1'),
        (dict(ohem_min_kept=100_000), '^ohem_min_kept'),
        (dict(ohem_min_kept=None), '^ohem_min_kept=None'),
        (dict(loss_weight='a'), "^loss_weight='a': expected a finite number"),
        (dict(loss_weight=math.nan), '^loss_weight=nan'),
        (dict(ignore_index=None), '^ignore_index=None: expected an integer'),
        (dict(reduction='max'), "reduction='max'"),
    ],
    ids=str,
)
def test_wrong_arguments(options, message):
    with pytest.raises(ValueError, match=message):
        BalancedCrossEntropy(**options)


def test_another_number_of_weights():
    logits, label = make_batch()
    with pytest.raises(ValueError, match=r'has 4 numbers, .* 5 classes'):
        BalancedCrossEntropy([1, 2, 3, 4])(logits, label)


@pytest.mark.parametrize(
    ('label', 'weight', 'message'),
    [
        (torch.zeros(2, 1, 7, 9), None, r'got \(2, 5, 7, 9\) and \(2, 1,'),
        (torch.zeros(2, 7, 8), None, r'and \(2, 7, 8\)'),
        (torch.zeros(2, 7, 9), torch.ones(2, 1, 7, 9), 'weight must be'),
    ],
)
def test_shapes_that_do_not_fit(label, weight, message):
    logits, _ = make_batch()
    with pytest.raises(ValueError, match=message):
        BalancedCrossEntropy()(logits, label.long(), weight=weight)


def test_rule_that_is_not_followed_yet():
    loss = BalancedCrossEntropy('median_frequency')
    logits, label = make_batch()
    with pytest.raises(
        RuntimeError, match=r'ClassWeightsHook.*mmseg-ext class-weights'
    ):
        loss(logits, label)
    loss.set_class_weight(WEIGHTS)
    expected = BalancedCrossEntropy(WEIGHTS)(logits, label)
    assert loss(logits, label) == expected


def test_checkpoints_have_nothing_of_it():
    loss = BalancedCrossEntropy('median_frequency')
    loss.set_class_weight(WEIGHTS)
    assert loss.state_dict() == {}
    assert '0.5, 2.0' in repr(loss)


def test_registered():
    assert MODELS.get('BalancedCrossEntropy') is BalancedCrossEntropy
    assert MODELS.build(LOSS).loss_name == 'loss_ce'
    assert MODELS.build(LOSS | dict(loss_name='loss_x')).loss_name == 'loss_x'
