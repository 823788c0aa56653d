"""The loss against MMSeg's, its definition, and in MMSeg's heads."""

import pytest
import torch
import torch.nn.functional as F
from mmengine.structures import PixelData
from mmseg.models.losses import LovaszLoss
from mmseg.registry import MODELS
from mmseg.structures import SegDataSample
from mmseg.utils import register_all_modules

from mmseg_ext.models import FastLovaszLoss
from references import lovasz

#: Of the histogram of errors, from 0 to 1.
STEPS = 16_383


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


def make_batch(shape=(2, 5, 6, 7), present=None, ignored=255, share=0.3):
    """Return logits, and labels of the first so many classes."""
    logits = torch.randn(shape) * 3
    label = torch.randint(0, present or shape[1], (shape[0], *shape[2:]))
    label[torch.rand(label.shape) < share] = ignored
    return logits, label


def with_gradient(function, logits):
    """Return value and gradient."""
    logits = logits.clone().requires_grad_()
    value = function(logits)
    value.backward()
    return value.detach(), logits.grad


CLASSES = pytest.mark.parametrize('classes', ['present', 'all'])


@CLASSES
@pytest.mark.parametrize('present', [3, 11])
def test_equals_that_of_mmseg(classes, present):
    logits, label = make_batch((2, 11, 48, 64), present)
    fast = FastLovaszLoss(classes, loss_weight=2.0)
    slow = LovaszLoss(classes=classes, reduction='none', loss_weight=2.0)
    (value, slope), (expected, exact) = (
        with_gradient(
            lambda x, loss=loss: loss(x, label, ignore_index=255), logits
        )
        for loss in (fast, slow)
    )
    assert value.item() == pytest.approx(expected.item(), rel=2e-6)
    assert (slope - exact).norm() < 1e-3 * exact.norm()
    ignored = slope.movedim(1, -1)[label == 255]
    assert len(ignored)
    assert (ignored == 0).all()


def errors_apart(logits, label):
    """Return whether no two errors of a class share a step."""
    steps = (lovasz.errors(logits, label)[0] * STEPS).floor()
    return all(len(row.unique()) == len(row) for row in steps)


@CLASSES
@pytest.mark.parametrize('present', [1, 4])
def test_equals_its_definition(classes, present):
    """Where no order is lost, to the precision of 32 bits."""
    logits, label = make_batch((2, 4, 3, 5), present)
    logits /= 3  # errors near 0 or 1 would share steps
    assert errors_apart(logits, label)
    loss = FastLovaszLoss(classes)
    found = with_gradient(lambda x: loss(x, label), logits)
    expected = with_gradient(
        lambda x: lovasz.loss(x, label, classes), logits.double()
    )
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one.double(), other, rtol=1e-5, atol=1e-7)


def test_equal_errors_by_hand():
    """Their order is open: its two extremes count alike.

    All errors are a half. Class 0 has three pixels of four: the IoU falls
    from 3/3 or 3/4 by a third or fourth with each, and by 1/4 or 0 with the
    other. Class 1 has that one: 1 or 1/4, and the three have 0 or 1/4 each.
    """
    logits = torch.zeros(1, 2, 4)
    label = torch.tensor([[0, 0, 0, 1]])
    value, slope = with_gradient(lambda x: FastLovaszLoss()(x, label), logits)
    assert value.item() == pytest.approx(0.5)
    # A softmax of two halves passes on a quarter of the difference, and each
    # class is half of the mean.
    of_first = (-(1 / 3 + 1 / 4) / 2 - (0 + 1 / 4) / 2) / 8
    of_last = ((1 / 4 + 0) / 2 + (1 + 1 / 4) / 2) / 8
    expected = torch.tensor([of_first] * 3 + [of_last])
    torch.testing.assert_close(slope[0], torch.stack([expected, -expected]))


def test_an_absent_class_costs_its_largest_probability():
    scores = torch.tensor([[0.9, 0.7, 0.2], [0.1, 0.3, 0.8]])
    logits, label = scores.log()[None], torch.tensor([[0, 0, 255]])
    found = FastLovaszLoss('all')(logits, label)
    # Errors 0.3 and 0.1 of half the IoU each, and 0.3 of all of it.
    assert found.item() == pytest.approx((0.2 + 0.3) / 2)
    assert FastLovaszLoss()(logits, label).item() == pytest.approx(0.2)


@CLASSES
def test_all_ignored(classes):
    logits, label = make_batch(share=1)
    loss = FastLovaszLoss(classes)
    value, slope = with_gradient(lambda x: loss(x, label), logits)
    assert value == 0
    assert (slope == 0).all()


def test_one_labeled_pixel():
    logits, label = make_batch(share=1)
    label[1, 2, 3] = 4
    error = 1 - logits.softmax(1)[1, 4, 2, 3]
    torch.testing.assert_close(FastLovaszLoss()(logits, label), error)


@pytest.mark.parametrize('shape', [(2, 5, 42), (84, 5)], ids=str)
def test_other_shapes(shape):
    """As points, or one row a pixel: all pixels are one set."""
    logits, label = make_batch()
    rows = logits.movedim(1, -1).reshape(-1, 5)
    other = {3: logits.flatten(2), 2: rows}[len(shape)]
    assert other.shape == shape
    found = FastLovaszLoss()(other, label.reshape(shape[0], *shape[2:]))
    torch.testing.assert_close(found, FastLovaszLoss()(logits, label))


def test_layout_of_memory():
    logits, label = make_batch()
    other = logits.contiguous(memory_format=torch.channels_last)
    loss = FastLovaszLoss()
    torch.testing.assert_close(
        with_gradient(lambda x: loss(x, label), other),
        with_gradient(lambda x: loss(x, label), logits),
    )


def test_ignored_label_of_the_head_comes_first():
    logits, label = make_batch(ignored=-100)
    loss = FastLovaszLoss(ignore_index=7)
    expected = FastLovaszLoss(ignore_index=-100)(logits, label)
    assert loss(logits, label, ignore_index=-100) == expected
    label[label == -100] = 7
    assert loss(logits, label) == expected
    # Of a class that is ignored nothing is left but its probabilities.
    label[label == 7] = 0
    found = loss(logits, label, ignore_index=0)
    exact = lovasz.loss(logits, label, ignored=0)
    assert found.item() == pytest.approx(exact.item(), abs=1e-5)


# Precision.


def check_half(logits, label, kind):
    """Check that all is computed in 32 bits."""
    logits = logits.to(kind)
    loss = FastLovaszLoss()
    expected, exact = with_gradient(
        lambda x: loss(x, label.cpu()), logits.cpu().float()
    )
    for enabled in (False, True):
        with torch.autocast(logits.device.type, dtype=kind, enabled=enabled):
            value, slope = with_gradient(lambda x: loss(x, label), logits)
        assert value.dtype == torch.float32
        assert 0.1 < value < 1
        torch.testing.assert_close(value.cpu(), expected)
        torch.testing.assert_close(slope.cpu(), exact.to(kind))


@pytest.mark.parametrize('kind', [torch.bfloat16, torch.float16])
@pytest.mark.parametrize('largest', [9, 60_000])
def test_half_precision(kind, largest):
    logits, label = make_batch()
    logits = (logits * largest / 12).clamp(-largest, largest)
    check_half(logits, label, kind)


@pytest.mark.skipif(not torch.cuda.is_available(), reason='needs a GPU')
def test_gpu():
    logits, label = make_batch((2, 5, 64, 64))
    large = (logits * 5_000).clamp(-60_000, 60_000)
    check_half(large.cuda(), label.cuda(), torch.float16)
    loss = FastLovaszLoss()
    found = with_gradient(lambda x: loss(x, label.cuda()), logits.cuda())
    expected = with_gradient(lambda x: loss(x, label), logits)
    # A rounding moves an error to another step here and there.
    for one, other in zip(found, expected, strict=True):
        assert (one.cpu() - other).norm() < 1e-3 * other.norm()
    logits[0, 1] = torch.nan
    assert loss(logits.cuda(), label.cuda()).isnan()


@pytest.mark.parametrize('value', [torch.nan, torch.inf])
def test_logits_that_are_no_numbers(value):
    logits, label = make_batch()
    logits[1, 2, 3] = value
    assert FastLovaszLoss()(logits, label).isnan()


# In heads.


@pytest.mark.parametrize(
    'options',
    [
        dict(type='FCNHead', in_channels=8),
        dict(
            type='FPNHead',
            in_channels=[8, 8],
            in_index=[0, 1],
            feature_strides=[4, 8],
        ),
    ],
    ids=lambda options: options['type'],
)
def test_heads(options):
    register_all_modules(False)
    head = MODELS.build(
        dict(
            **options,
            channels=8,
            num_classes=5,
            ignore_index=9,
            loss_decode=[
                dict(type='FastLovaszLoss', loss_weight=0.5),
                dict(type='BalancedCrossEntropy'),
            ],
        )
    ).eval()
    inputs = [torch.randn(2, 8, 8, 8), torch.randn(2, 8, 4, 4)]
    if 'in_index' not in options:
        del inputs[0]
    label = torch.randint(0, 5, (2, 16, 16))
    label[0, :4] = 9
    samples = [
        SegDataSample(gt_sem_seg=PixelData(data=image[None]))
        for image in label
    ]
    losses = head.loss(inputs, samples, {})
    logits = F.interpolate(head(inputs), (16, 16), mode='bilinear')
    slow = LovaszLoss(reduction='none', loss_weight=0.5)
    expected = slow(logits, label, ignore_index=9)
    assert losses['loss_lovasz'].item() == pytest.approx(
        expected.item(), abs=1e-5
    )
    assert 'loss_ce' in losses


def test_registered():
    assert MODELS.get('FastLovaszLoss') is FastLovaszLoss
    assert FastLovaszLoss(loss_name='loss_x').loss_name == 'loss_x'


# Arguments.


def test_classes():
    message = r"^classes must be 'present' or 'all', got \[0, 1\]$"
    with pytest.raises(ValueError, match=message):
        FastLovaszLoss([0, 1])


@pytest.mark.parametrize(
    'options', [dict(loss_weight='a'), dict(ignore_index=None)], ids=str
)
def test_arguments_that_are_no_numbers(options):
    with pytest.raises(ValueError, match=f'^{next(iter(options))}='):
        FastLovaszLoss(**options)


def test_one_channel():
    with pytest.raises(ValueError, match=r"out_channels=2, .*'Lovasz"):
        FastLovaszLoss()(torch.randn(2, 1, 3, 4), torch.ones(2, 3, 4).long())


@pytest.mark.parametrize('wrong', [5, 7, -1])
def test_label_that_is_no_class(wrong):
    logits, label = make_batch()
    label[1, 2, 3] = wrong
    with pytest.raises(
        ValueError,
        match=f'^label {wrong} is no class: expected 0 to 4, or 255, which',
    ):
        FastLovaszLoss()(logits, label)


@pytest.mark.parametrize('shape', [(2, 1, 6, 7), (2, 7, 6), (2,)], ids=str)
def test_shapes_that_do_not_fit(shape):
    logits, _ = make_batch()
    with pytest.raises(ValueError, match=r'got \(2, 5, 6, 7\) and \(2,'):
        FastLovaszLoss()(logits, torch.zeros(shape).long())
