"""Cross entropy that can weigh classes, ignore labels and look for errors."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch.nn.functional as F
from mmseg.registry import MODELS
from torch import Tensor, nn

from mmseg_ext.formats.color_masks import IGNORE_INDEX
from mmseg_ext.formats.json_files import decode_json
from mmseg_ext.utils.arguments import is_integer, is_number, require
from mmseg_ext.utils.class_weights import RULES, rule_bounds

__all__ = ['BalancedCrossEntropy']

#: Files of weights. Pickles and YAML, which may run code where MMSeg reads
#: them, are not read.
_FILES = ('.json', '.npy')

#: The largest weight: what all pixels of a batch lose with it is still a
#: number of 32 bits, of which the largest is 3.4e38.
_LARGEST = 1e30

_REDUCTIONS = ('mean', 'sum', 'none')


@MODELS.register_module()
class BalancedCrossEntropy(nn.Module):
    """Cross entropy with weights of classes, for all heads of MMSeg.

    Value and gradient are those of ``torch.nn.functional.cross_entropy``: the
    mean is over the pixels that count, those that are not ignored, and each
    counts as much as the weight of its class. If none counts, the loss is 0
    and so is its gradient. All is computed in 32 bits, also with AMP.

    With ``ohem_thresh`` only hard pixels count ("online hard example
    mining"): those whose own class has a lower probability, and at least a
    share ``ohem_min_kept`` of the pixels of the batch that count, those of
    lowest probability.

    Source of the mining: Shrivastava et al., "Training Region-based Object
    Detectors with Online Hard Example Mining", arXiv:1604.03540; with a
    threshold and a minimum of pixels as in BiSeNet's training.

    Args:
        class_weight: What a pixel of each class counts: numbers of 0 or
            above, or the path of a ``.json`` or ``.npy`` file with a list of
            them. ``'median_frequency'`` and ``'sqrt_median_frequency'`` are
            rules by which ``ClassWeightsHook`` makes them of the training
            set, before the first iteration. By default all classes count 1.
        weight_bounds: The least and the largest weight that a rule makes; by
            default those of the rule, see :data:`~mmseg_ext.utils
            .class_weights.RULES`.
        label_smoothing: Share of each label that is spread evenly over all
            classes, from 0 to 1.
        ohem_thresh: Probability of a pixel's own class below which it is
            hard, from 0 to 1, usually 0.7. By default all pixels count.
        ohem_min_kept: The least share of hard pixels, above 0 and at most 1.
            As with BiSeNet a sixteenth.
        ignore_index: Label that takes no part, where the head does not say.
        reduction: ``'mean'``, ``'sum'``, or ``'none'`` for one loss a pixel.
        loss_weight: Factor of the loss.
        loss_name: Its name in the log; one that does not begin with ``loss_``
            is logged and not trained.

    Raises:
        OSError: There is no such file.
        ValueError: An argument is none of these, or a file holds none.
    """

    def __init__(
        self,
        class_weight: Sequence[float] | str | None = None,
        weight_bounds: Sequence[float] | None = None,
        label_smoothing: float = 0.0,
        ohem_thresh: float | None = None,
        ohem_min_kept: float = 1 / 16,
        ignore_index: int = IGNORE_INDEX,
        reduction: str = 'mean',
        loss_weight: float = 1.0,
        loss_name: str = 'loss_ce',
    ) -> None:
        super().__init__()
        require(
            'label_smoothing',
            label_smoothing,
            is_number(label_smoothing, 0, 1),
            'a number from 0 to 1',
        )
        require(
            'ohem_min_kept',
            ohem_min_kept,
            is_number(ohem_min_kept, 0, 1) and ohem_min_kept > 0,
            'a number above 0, at most 1',
        )
        require(
            'ohem_thresh',
            ohem_thresh,
            ohem_thresh is None or is_number(ohem_thresh, 0, 1),
            'a number from 0 to 1, or None',
        )
        require(
            'ignore_index',
            ignore_index,
            is_integer(ignore_index),
            'an integer, such as 255',
        )
        require(
            'loss_weight',
            loss_weight,
            is_number(loss_weight) and math.isfinite(loss_weight),
            'a finite number',
        )
        _check_reduction(reduction)
        #: The rule by which a hook makes the weights; None where there is
        #: none.
        self.class_weight_rule: str | None = None
        #: What a pixel of each class counts; None where all count 1, or the
        #: rule is still to be followed. No part of the state: checkpoints are
        #: those of MMSeg's losses.
        self.class_weight: tuple[float, ...] | None = None
        #: The least and the largest weight of the rule.
        self.weight_bounds: tuple[float, float] | None = None
        if isinstance(class_weight, str) and class_weight in RULES:
            self.class_weight_rule = class_weight
            self.weight_bounds = rule_bounds(class_weight, weight_bounds)
        elif weight_bounds is not None:
            raise ValueError(
                f'weight_bounds={weight_bounds!r} are for a rule: class_weight'
                f' must be one of {", ".join(map(repr, RULES))}'
            )
        elif class_weight is not None:
            self.set_class_weight(_read(class_weight))
        self.label_smoothing = label_smoothing
        self.ohem_thresh = ohem_thresh
        self.ohem_min_kept = ohem_min_kept
        self.ignore_index = ignore_index
        self.reduction = reduction
        self.loss_weight = loss_weight
        self._loss_name = loss_name

    def extra_repr(self) -> str:
        """Return what is shown of it in the model."""
        return (
            f'class_weight={self.class_weight or self.class_weight_rule!r}, '
            f'label_smoothing={self.label_smoothing}, '
            f'ohem_thresh={self.ohem_thresh}'
        )

    @property
    def loss_name(self) -> str:
        """The name of the loss in the log."""
        return self._loss_name

    def set_class_weight(self, weights: Sequence[float] | np.ndarray) -> None:
        """Set what a pixel of each class counts.

        Args:
            weights: One number for each class, 0 to 1e30.

        Raises:
            ValueError: They are no such numbers, or all are 0 in 32 bits.
        """
        self.class_weight = _checked(weights)

    def check_channels(self, channels: int) -> None:
        """Check that logits of so many channels can be trained with it.

        Raises:
            ValueError: There is one channel alone, or another number of
                weights.
        """
        if channels == 1:
            raise ValueError(
                'BalancedCrossEntropy compares classes, and the head has one '
                'channel alone: with num_classes=1 give the rest a class of '
                "its own, such as classes=('background', 'a') with "
                'num_classes=2; with num_classes=2 and out_channels=1 set '
                "out_channels=2, or use type='CrossEntropyLoss', "
                'use_sigmoid=True, without class_weight'
            )
        if self.class_weight and len(self.class_weight) != channels:
            raise ValueError(
                f'class_weight has {len(self.class_weight)} numbers, and the '
                f'head tells {channels} classes apart: expected one for each'
            )

    def forward(
        self,
        cls_score: Tensor,
        label: Tensor,
        weight: Tensor | None = None,
        avg_factor: float | None = None,
        reduction_override: str | None = None,
        ignore_index: int | None = None,
        **kwargs: Any,
    ) -> Tensor:
        """Compute the loss.

        Args:
            cls_score: Logits, (N, C, ...), such as (N, C, H, W).
            label: Integers from 0 to C - 1, or ``ignore_index``, (N, ...).
            weight: What each pixel counts in addition, (N, ...), as
                samplers of pixels say.
            avg_factor: What to divide the sum by, in place of the weights of
                the pixels that count.
            reduction_override: Takes the place of ``reduction``.
            ignore_index: Label that takes no part.
            **kwargs: Taken, as MMSeg's losses do, and not used.

        Returns:
            The loss in 32 bits: a scalar, or (N, ...) with ``'none'``.

        Raises:
            RuntimeError: The weights are still to be made by a rule.
            ValueError: Logits, labels and weights do not fit.
        """
        reduction = reduction_override or self.reduction
        _check_reduction(reduction, avg_factor)
        self._check(cls_score, label, weight)
        ignored = self.ignore_index if ignore_index is None else ignore_index
        logits, label = cls_score.float(), label.long()
        weights = (
            logits.new_tensor(self.class_weight) if self.class_weight else None
        )
        losses = F.cross_entropy(
            logits,
            label,
            weights,
            ignore_index=ignored,
            reduction='none',
            label_smoothing=self.label_smoothing,
        )
        counts = label != ignored
        scales, pixels = counts.float(), counts.float()
        if weights is not None:
            scales = scales * weights[label.where(counts, 0)]
        if self.ohem_thresh is not None:
            # A class of weight 0 is not looked for.
            pixels = self._hard(logits.detach(), label, scales > 0).float()
        if weight is not None:
            pixels = pixels * weight.float()
        losses = losses * pixels
        if reduction == 'none':
            return self.loss_weight * losses
        total = losses.sum()
        if reduction == 'mean':
            count = (
                (scales * pixels).sum()
                if avg_factor is None
                else total.new_tensor(avg_factor)
            )
            total = _divide(total, count)
        return self.loss_weight * total

    def _check(
        self, cls_score: Tensor, label: Tensor, weight: Tensor | None
    ) -> None:
        """Check weights, logits and labels."""
        if self.class_weight_rule and self.class_weight is None:
            raise RuntimeError(
                f'class_weight={self.class_weight_rule!r} is made of the '
                'training set by ClassWeightsHook: add class_weights=dict('
                "type='ClassWeightsHook') to default_hooks, or write the "
                'numbers that mmseg-ext class-weights prints'
            )
        if cls_score.ndim < 2 or label.shape != (
            *cls_score.shape[:1],
            *cls_score.shape[2:],
        ):
            raise ValueError(
                'BalancedCrossEntropy needs logits (N, C, ...) and labels '
                f'(N, ...), got {tuple(cls_score.shape)} and '
                f'{tuple(label.shape)}'
            )
        if weight is not None and weight.shape != label.shape:
            raise ValueError(
                'weight must be what each pixel counts, of the shape of the '
                f'labels, {tuple(label.shape)}, got {tuple(weight.shape)}'
            )
        self.check_channels(cls_score.shape[1])

    def _hard(self, logits: Tensor, label: Tensor, counts: Tensor) -> Tensor:
        """Return which of the pixels that count are hard, (N, ...)."""
        # Of the label itself, whatever it weighs; high where that is unlikely.
        surprise = F.cross_entropy(
            logits, label.where(counts, 0), reduction='none'
        )
        number = int(counts.sum())
        if number == 0:
            return counts
        kept = math.ceil(number * self.ohem_min_kept)
        limit = surprise[counts].kthvalue(number - kept + 1).values
        assert self.ohem_thresh is not None
        least = -math.log(self.ohem_thresh) if self.ohem_thresh else math.inf
        return counts & ((surprise > least) | (surprise >= limit))


def _divide(total: Tensor, count: Tensor) -> Tensor:
    """Return a mean; 0, with a gradient of 0, where nothing counts."""
    any_counts = count > 0
    return total * any_counts / count.where(any_counts, 1)


def _check_reduction(reduction: str, avg_factor: float | None = None) -> None:
    """Check what a loss is reduced to."""
    if reduction not in _REDUCTIONS:
        raise ValueError(
            f'reduction={reduction!r}: expected one of '
            + ', '.join(map(repr, _REDUCTIONS))
        )
    if avg_factor is not None and reduction == 'sum':
        raise ValueError("avg_factor cannot be used with reduction='sum'")


def _checked(weights: Any) -> tuple[float, ...]:
    """Return weights of classes.

    Raises:
        ValueError: They are none.
    """
    try:
        values = np.asarray(weights)
    except ValueError:  # of lists of several lengths
        values = np.empty(())
    if (
        values.ndim != 1
        or values.dtype.kind not in 'iuf'
        or not ((values >= 0) & (values <= _LARGEST)).all()
        # Small ones are 0 in the 32 bits of the loss.
        or not values.astype(np.float32).any()
    ):
        raise ValueError(
            'class_weight must be numbers of 0 or above, one for each class, '
            f'at most {_LARGEST:g} and not all 0, got {weights!r}'
        )
    return tuple(values.astype(np.float64).tolist())


def _read(class_weight: Sequence[float] | str) -> Any:
    """Return the weights that a file holds, or those that are given."""
    if not isinstance(class_weight, str):
        return class_weight
    path = Path(class_weight)
    if path.suffix not in _FILES:
        raise ValueError(
            f'class_weight={class_weight!r}: expected a rule '
            f'({", ".join(RULES)}), a file ({", ".join(_FILES)}) with a list '
            'of numbers, or the list itself'
        )
    try:
        if path.suffix == '.npy':
            return _checked(np.load(path))
        return _checked(decode_json(path.read_bytes(), list[float]))
    except OSError as error:
        raise type(error)(
            f'class_weight={class_weight!r} cannot be read: '
            f'{error.strerror or error}'
        ) from error
    except (ValueError, EOFError) as error:
        raise ValueError(
            f'{path}, which class_weight names, holds no weights: {error}'
        ) from error
