"""Checks of classes and labels, before a run and over its first epoch."""

import math
from collections.abc import Collection, Sequence
from contextlib import suppress
from typing import Any

import numpy as np
from mmengine.dist import get_world_size
from mmengine.hooks import Hook
from mmengine.runner import IterBasedTrainLoop, Runner
from mmseg.registry import HOOKS

from mmseg_ext.engine.label_checks import (
    ClassHead,
    FirstLabel,
    SeenClasses,
    black_and_white_warning,
    class_heads,
    count_within,
    first_labels,
    ignored_fault,
    ignored_labels,
    label_fault,
    leaves,
    may_be_black_and_white,
    misfit,
    paths_of,
    sample_info,
    samples_of,
    trained_classes,
    transform_fault,
    value_fault,
)
from mmseg_ext.formats.color_masks import IGNORE_INDEX
from mmseg_ext.utils.text import listing, printable

__all__ = ['LabelCheckError', 'LabelCheckHook']

#: So many classes are named in a warning.
_NAMED = 30

#: What labels hold where masks of black and white are taken for indices.
_BLACK_AND_WHITE = {0, IGNORE_INDEX}


#: Before anything is said of all labels, so many times as many are loaded: in
#: large data sets few may be others.
_MORE = 32

#: Evaluators that need a label for each sample, unless they only write files.
_SCORING = ('IoU', 'IoUMetric')


class LabelCheckError(ValueError):
    """What the user can mend: classes, heads and labels do not fit."""


@HOOKS.register_module()
class LabelCheckHook(Hook):
    """Hook that tells of labels from which a model does not learn its classes.

    Before training, validation and test the number of classes of each head
    must be that of the data set, and before training that of ``RareClassCrop``
    and ``SemanticCopyPaste``, too. Before training some labels are loaded
    through the pipeline: it is an error if there are none, if one holds a
    value that is no class, or if all their pixels are ignored, and those of
    32 times as many files. Over the first epoch the labels that the data
    loader gives, on all processes, are looked through: one warning names the
    classes that are in none of them. A training that is resumed is not looked
    through.

    Where ``IoU`` or ``IoUMetric`` scores, it is an error as well if the data
    set of the validation or test has no labels.

    A warning tells as well of masks that hold 0 and 255 alone, again of 32
    times as many files: as index masks they have one class and ignored
    pixels.

    Random numbers stay as they are. Data sets without classes, or of depths,
    are passed over.

    Args:
        num_files: Labels to load before training, validation and test, spread
            over the data set; 0 loads none, and checks heads and transforms
            alone.
        first_epoch: Look through the labels of the first epoch.
        skip_heads: Heads that are meant to have other classes, such as
            ``['auxiliary_head.1']``.

    Raises:
        ValueError: ``num_files`` is not an integer of 0 or above.
    """

    def __init__(
        self,
        num_files: int = 8,
        first_epoch: bool = True,
        skip_heads: Sequence[str] = (),
    ) -> None:
        if type(num_files) is not int or num_files < 0:
            raise ValueError(
                'num_files must be a number of label files, an integer of 0 '
                f'or above, got {num_files!r}'
            )
        self.num_files = num_files
        self.first_epoch = first_epoch
        self.skip_heads = tuple(skip_heads)
        self._trains = False
        self._warned = False
        # Iterations to look at; the hook may be used for a test alone.
        self._left = 0

    def before_train(self, runner: Runner) -> None:
        """Check heads and labels of training, and those for validation.

        Raises:
            LabelCheckError: They do not fit.
        """
        self._trains = True
        dataset = runner.train_dataloader.dataset
        heads = self._check_heads(runner, dataset, 'train')
        names = _classes(dataset)
        if names and (fault := transform_fault(dataset, names)):
            raise LabelCheckError(f'{fault} in train_dataloader')
        self._two_tones = (
            len(names) > 1
            and IGNORE_INDEX in ignored_labels(heads)
            and may_be_black_and_white(dataset)
        )
        if self.num_files:
            self._check_labels(runner, dataset, heads, names)
        if runner.val_loop is not None:
            self._check_evaluation(runner, runner.val_loop, 'val')
        if self.first_epoch and names and runner.iter == 0:
            self._begin(runner, dataset, names)

    def before_val(self, runner: Runner) -> None:
        """Check heads and labels, unless the training has.

        Raises:
            LabelCheckError: They do not fit.
        """
        if not self._trains:
            self._check_evaluation(runner, runner.val_loop, 'val')

    def before_test(self, runner: Runner) -> None:
        """Check heads and labels.

        Raises:
            LabelCheckError: They do not fit.
        """
        self._check_evaluation(runner, runner.test_loop, 'test')

    def before_train_iter(
        self,
        runner: Runner,
        batch_idx: int,
        data_batch: Any = None,
    ) -> None:
        """Look through the labels of a batch, before they are padded."""
        if self._left:
            self._seen.add(samples_of(data_batch))
            self._left -= 1
            if self._left == 0:
                self._tell(runner, 'of the first epoch')

    def after_train_epoch(self, runner: Runner) -> None:
        """Tell of what was seen, if that was less than was expected."""
        if self._left:
            self._left = 0
            # To mmengine, such a training is one epoch, however long.
            by_iteration = isinstance(runner.train_loop, IterBasedTrainLoop)
            self._tell(
                runner,
                'of a training that ended before its first epoch'
                if by_iteration
                else 'of the first epoch',
            )

    def _check_heads(
        self, runner: Runner, dataset: Any, mode: str
    ) -> list[ClassHead]:
        """Return the heads, if they are for the classes of a data set."""
        heads = [
            head
            for head in class_heads(runner.model)
            if head.name not in self.skip_heads
        ]
        names = _classes(dataset)
        source = f'{_kind(dataset)} of {mode}_dataloader'
        if names and (fault := misfit(heads, names, source)):
            raise LabelCheckError(fault)
        return heads

    def _check_labels(
        self,
        runner: Runner,
        dataset: Any,
        heads: Sequence[ClassHead],
        names: Sequence[str],
    ) -> None:
        """Load some labels and check them."""
        try:
            missing = label_fault(dataset) if heads else None
            labels = [] if missing else first_labels(dataset, self.num_files)
            fault = missing or value_fault(labels, heads, len(names))
            if not fault and ignored_fault(labels, heads):
                values = ignored_labels(heads)
                if count := self._count_within(dataset, values):
                    fault = ignored_fault(labels, heads, count)
        except (OSError, ValueError) as error:
            raise LabelCheckError(' '.join(str(error).split())) from error
        if fault:
            raise LabelCheckError(fault)
        if self._two_tones:
            self._tell_of_white(runner, dataset, labels)

    def _check_evaluation(self, runner: Runner, loop: Any, mode: str) -> None:
        """Check heads and labels of a validation or test."""
        dataset = loop.dataloader.dataset
        heads = self._check_heads(runner, dataset, mode)
        if not self.num_files or not _is_scored(loop):
            return
        if fault := label_fault(dataset, evaluated=True):
            raise LabelCheckError(f'{mode}_dataloader: {fault}')
        labels = []
        # The evaluation itself names a file that cannot be loaded.
        with suppress(OSError, ValueError):
            labels = first_labels(dataset, self.num_files)
        if (
            not self._warned
            and len(_classes(dataset)) > 1
            and IGNORE_INDEX in ignored_labels(heads)
            and may_be_black_and_white(dataset)
        ):
            self._tell_of_white(runner, dataset, labels)

    def _tell_of_white(
        self, runner: Runner, dataset: Any, labels: Sequence[FirstLabel]
    ) -> None:
        """Warn if labels are black and white."""
        values = {v for i in labels for v in np.unique(i.label).tolist()}
        count = 0
        if values == _BLACK_AND_WHITE:
            with suppress(OSError, ValueError):
                count = self._count_within(dataset, values)
        self._warned = count > 0
        if self._warned:
            where = f'the {count} label(s) read, {paths_of(labels)},'
            runner.logger.warning(
                black_and_white_warning(
                    where, _classes(dataset), _is_reduced(dataset), some=True
                )
            )

    def _count_within(self, dataset: Any, values: Collection[int]) -> int:
        """Count more labels, if none has another value."""
        return count_within(dataset, _MORE * self.num_files, values)

    def _begin(
        self, runner: Runner, dataset: Any, names: Sequence[str]
    ) -> None:
        """Begin to look through an epoch."""
        self._names = names
        self._trained = trained_classes(sample_info(dataset), names)
        self._seen = SeenClasses({*self._trained, IGNORE_INDEX})
        batch = runner.train_dataloader.batch_sampler
        size = getattr(batch, 'batch_size', 1) * get_world_size()
        self._left = math.ceil(len(dataset) / size)

    def _tell(self, runner: Runner, which: str) -> None:
        """Warn of classes that no process has seen."""
        count, seen = self._seen.result()
        missing = sorted(self._trained - seen)
        black_and_white = self._two_tones and seen == _BLACK_AND_WHITE
        if count == 0 or not missing or (black_and_white and self._warned):
            return
        names = self._names
        dataset = runner.train_dataloader.dataset
        reduced = _is_reduced(dataset)
        # The last batch is filled up from the next epoch.
        images = f'the {min(count, len(dataset))} image(s) {which}'
        if black_and_white:
            where = f'the labels of {images}'
            runner.logger.warning(
                black_and_white_warning(where, names, reduced)
            )
            return
        listed = [f'{printable(names[i])} ({i})' for i in missing]
        # Without a value of its own, it is what all are one off by.
        shifted = reduced and len(names) - 1 in missing
        runner.logger.warning(
            f'{len(missing)} of {len(names)} classes of '
            f'{_kind(dataset)} are labeled in no '
            f'pixel of {images}: {listing(listed, _NAMED)}; check that the '
            'list of classes is that of the masks, index by index; else they '
            'are rare, or crops leave them out, and the model does not learn '
            'them'
            + f'; reduce_zero_label=True ignores 0 and makes 1 {names[0]}: '
            'set it to False if the masks mean that by 0' * shifted
        )


def _classes(dataset: Any) -> Sequence[str]:
    """Return the classes of a data set; none if it does not say.

    Those of a data set of depths are of its scenes.
    """
    info = sample_info(dataset)
    if 'depth_map_path' in info and 'seg_map_path' not in info:
        return ()
    names = getattr(dataset, 'metainfo', {}).get('classes') or ()
    return (names,) if isinstance(names, str) else names


def _is_reduced(dataset: Any) -> bool:
    """Return whether 0 becomes ignored, and 1 becomes 0."""
    return bool(sample_info(dataset).get('reduce_zero_label'))


def _is_scored(loop: Any) -> bool:
    """Return whether an evaluator needs labels."""
    metrics = getattr(getattr(loop, 'evaluator', None), 'metrics', ())
    return any(
        type(metric).__name__ in _SCORING
        and not getattr(metric, 'format_only', False)
        for metric in metrics
    )


def _kind(dataset: Any) -> str:
    """Return the class of a data set, or of the first within a wrapper."""
    return type(leaves(dataset)[0]).__name__
