"""MMSeg's losses with ignored pixels, as docs/losses.md says.

Where one of these fails after an upgrade, the page has to change.
"""

import re
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmseg.datasets.transforms import RandomCrop
from mmseg.models.losses import (
    CrossEntropyLoss,
    DiceLoss,
    LovaszLoss,
    OhemCrossEntropy,
)
from mmseg.registry import HOOKS, MODELS

from mmseg_ext.models import FastLovaszLoss
from references import lovasz

CLASSES = 4


@pytest.fixture
def batch():
    """Return logits and labels: some pixels ignored, class 3 nowhere."""
    torch.manual_seed(0)
    logits = torch.randn(2, CLASSES, 5, 6)
    label = torch.randint(0, CLASSES - 1, (2, 5, 6))
    label[:, :2, :4] = 255
    return logits, label


def test_example_of_the_docs():
    page = Path(__file__).parents[3] / 'docs' / 'losses.md'
    (code,) = re.findall(r'```python\n(.+?)```', page.read_text(), re.S)
    config = Config.fromstring(code, '.py')
    parts = config.model.decode_head.loss_decode
    balanced, fast = map(MODELS.build, parts)
    assert balanced.class_weight_rule == 'sqrt_median_frequency'
    assert type(fast) is FastLovaszLoss
    assert config.default_hooks.class_weights.type in HOOKS


def naive_dice(logits, label, power, counted):
    """Return 1 - Dice of all classes together, the mean over images.

    Args:
        logits: (N, C, H, W).
        label: (N, H, W); at 255 no class is right.
        power: Of the probabilities in the denominator.
        counted: (N, H, W), which pixels take part.
    """
    losses = []
    for scores, labels, counts in zip(logits, label, counted, strict=True):
        both = powers = pixels = 0.0
        for y, x in torch.nonzero(counts).tolist():
            probabilities = scores[:, y, x].softmax(0)
            powers += (probabilities**power).sum().item()
            if labels[y, x] != 255:
                both += probabilities[labels[y, x]].item()
                pixels += 1
        losses.append(1 - 2 * both / (powers + pixels))
    return sum(losses) / len(losses)


def gradient(loss, logits, label):
    logits = logits.clone().requires_grad_()
    loss(logits, label, ignore_index=255).backward()
    return logits.grad.abs().sum(1)


def test_cross_entropy_with_weights_fails_where_pixels_are_ignored(batch):
    logits, label = batch
    loss = CrossEntropyLoss(class_weight=[1, 2, 3, 4], avg_non_ignore=True)
    with pytest.raises(IndexError):
        loss(logits, label, ignore_index=255)


def test_ohem_takes_no_arguments_of_heads(batch):
    logits, label = batch
    with pytest.raises(TypeError, match='ignore_index'):
        OhemCrossEntropy()(logits, label, ignore_index=255)


# Lovasz.

LOVASZ = dict(per_image=False, reduction='none')


def test_lovasz_as_documented(batch):
    logits, label = batch
    loss = LovaszLoss(**LOVASZ)
    found = loss(logits, label, ignore_index=255)
    assert found.item() == pytest.approx(lovasz.loss(logits, label).item())
    ignored = gradient(loss, logits, label)[label == 255]
    assert (ignored == 0).all()


def test_lovasz_needs_its_reduction():
    with pytest.raises(AssertionError, match="'none'"):
        LovaszLoss()


def test_lovasz_of_each_image_fails_where_one_is_ignored(batch):
    logits, label = batch
    loss = LovaszLoss(per_image=True)
    expected = [
        lovasz.loss(logits[k : k + 1], label[k : k + 1]).item()
        for k in range(2)
    ]
    found = loss(logits, label, ignore_index=255).item()
    assert found == pytest.approx(sum(expected) / 2)
    label[0] = 255
    with pytest.raises(RuntimeError, match='equal size'):
        loss(logits, label, ignore_index=255)
    found = LovaszLoss(**LOVASZ)(logits, label, ignore_index=255)
    assert found.item() == pytest.approx(lovasz.loss(logits, label).item())


def test_lovasz_has_no_value_where_all_is_ignored(batch):
    """The mean, which the runner takes of each loss, is NaN."""
    logits, label = batch
    label[:] = 255
    found = LovaszLoss(**LOVASZ)(logits, label, ignore_index=255)
    assert found.mean().isnan()


# Dice.

DICE = dict(use_sigmoid=False, naive_dice=True)


@pytest.fixture
def everywhere(batch):
    return torch.ones_like(batch[1], dtype=torch.bool)


def test_dice_as_documented(batch, everywhere):
    """Ignored pixels change its value, and what is learned in no way.

    The gradient is that of the other pixels alone, times a factor.
    """
    logits, label = batch
    logits, label = logits[:1].clone().requires_grad_(), label[:1]
    loss = DiceLoss(**DICE)
    found = loss(logits, label, ignore_index=255)
    expected = naive_dice(logits, label, 1, everywhere[:1])
    assert found.item() == pytest.approx(expected, rel=1e-4)
    found.backward()
    assert logits.grad.movedim(1, -1)[label == 255].abs().max() < 1e-7
    slopes = logits.grad.movedim(1, -1)[label != 255]

    others = logits.detach().movedim(1, -1)[label != 255].requires_grad_()
    alone = loss(others.T[None, :, None], label[label != 255][None, None])
    alone.backward()
    pixels, labeled = label.numel(), int((label != 255).sum())
    factor = 2 * labeled / (pixels + labeled)
    torch.testing.assert_close(
        slopes, others.grad * factor, rtol=1e-3, atol=1e-6
    )


@pytest.mark.parametrize(
    'options',
    [{}, dict(use_sigmoid=False), dict(naive_dice=True)],
    ids=['default', 'softmax', 'naive'],
)
def test_dice_else_learns_of_what_is_ignored(batch, options):
    """As of places where no class should be."""
    logits, label = batch
    loss = DiceLoss(ignore_index=255, **options)
    ignored = gradient(loss, logits, label)[label == 255]
    assert ignored.min() > 1e-5


def test_dice_else_has_another_value(batch, everywhere):
    logits, label = batch
    found = DiceLoss(use_sigmoid=False)(logits, label, ignore_index=255)
    wrong = naive_dice(logits, label, 2, everywhere)
    right = naive_dice(logits, label, 2, label != 255)
    assert found.item() == pytest.approx(wrong, rel=1e-4)
    assert found.item() != pytest.approx(right, rel=0.05)


def test_dice_takes_negative_labels_for_the_first_class(batch):
    logits, label = batch
    loss = DiceLoss(use_sigmoid=False, ignore_index=-1)
    first = loss(logits, label.where(label != 255, 0))
    found = loss(logits, label.where(label != 255, -1), ignore_index=-1)
    assert found == first


def test_dice_takes_no_sampler_of_pixels(batch):
    logits, label = batch
    with pytest.raises(AssertionError):
        DiceLoss()(logits, label, weight=torch.ones(label.shape))


def test_dice_of_one_channel_is_the_wrong_way_round():
    label = torch.zeros(1, 4, 4, dtype=torch.long)
    label[:, :2] = 1
    right = torch.where(label == 1, 20.0, -20.0)[:, None]
    assert CrossEntropyLoss(use_sigmoid=True)(right, label) < 0.01
    assert DiceLoss()(right, label) > 0.99
    assert DiceLoss()(-right, label) < 0.01


@pytest.mark.parametrize('labeled', [0, 1], ids=['none', 'one pixel'])
def test_crops_with_too_few_labels_are_drawn_again(labeled):
    """Those of which Lovasz has no value; a corner alone is labeled."""
    label = np.full((64, 64), 255, np.uint8)
    label[:, :20] = np.arange(64)[:, None] % 3
    if labeled:
        label[40, 40] = 1
    crop = RandomCrop((16, 16), cat_max_ratio=0.75)
    np.random.seed(0)
    good = 0
    for _ in range(50):
        results = dict(
            img=np.zeros((64, 64, 3), np.uint8),
            gt_seg_map=label.copy(),
            seg_fields=['gt_seg_map'],
        )
        good += (crop(results)['gt_seg_map'] != 255).sum() > 1
    assert good >= 49
