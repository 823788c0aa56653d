"""Checks of classes and labels, before a run and over its first epoch."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from mmengine.dist import get_world_size
from mmengine.hooks import Hook
from mmengine.runner import IterBasedTrainLoop, Runner
from mmseg.registry import HOOKS

from mmseg_ext.engine.label_checks import (
    ClassHead,
    SeenClasses,
    black_and_white_warning,
    class_heads,
    first_labels,
    ignored_fault,
    label_fault,
    leaves,
    may_be_black_and_white,
    misfit,
    paths_of,
    sample_info,
    samples_of,
    trained_classes,
    value_fault,
)
from mmseg_ext.formats.color_masks import IGNORE_INDEX
from mmseg_ext.utils.text import listing, printable

__all__ = ['LabelCheckError', 'LabelCheckHook']

#: So many classes are named in a warning.
_NAMED = 30

#: What labels hold where masks of black and white are taken for indices.
_BLACK_AND_WHITE = {0, IGNORE_INDEX}


class LabelCheckError(ValueError):
    """What the user can mend: classes, heads and labels do not fit."""


@HOOKS.register_module()
class LabelCheckHook(Hook):
    """Hook that tells of labels from which a model does not learn its classes.

    Before training, validation and test the number of classes of each head
    must be that of the data set. Before training some label files are loaded
    through the pipeline: it is an error if there are none, if all their
    pixels are ignored, or if one holds a value that is no class. Over the
    first epoch the labels that the data loader gives, on all processes, are
    looked through: one warning names the classes that are in none of them. A
    training that is resumed is not looked through.

    A warning tells as well of masks that hold 0 and 255 alone: as index masks
    they have one class and ignored pixels.

    Random numbers stay as they are, and data sets without classes are passed
    over.

    Args:
        num_files: Label files to load before training, spread over the data
            set; 0 loads none.
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
        # Iterations to look at; the hook may be used for a test alone.
        self._left = 0

    def before_train(self, runner: Runner) -> None:
        """Check heads and labels of training, and the heads for validation.

        Raises:
            LabelCheckError: They do not fit.
        """
        self._trains = True
        dataset = runner.train_dataloader.dataset
        heads = self._check_heads(runner, dataset, 'train')
        if runner.val_loop is not None:
            self._check_heads(runner, runner.val_dataloader.dataset, 'val')
        names = _classes(dataset)
        self._two_tones = len(names) > 1 and may_be_black_and_white(dataset)
        self._check_labels(runner, dataset, heads, names)
        if self.first_epoch and names and runner.iter == 0:
            self._begin(runner, dataset, names)

    def before_val(self, runner: Runner) -> None:
        """Check the heads, unless the training has.

        Raises:
            LabelCheckError: They do not fit.
        """
        if not self._trains:
            self._check_heads(runner, runner.val_dataloader.dataset, 'val')

    def before_test(self, runner: Runner) -> None:
        """Check the heads.

        Raises:
            LabelCheckError: They do not fit.
        """
        self._check_heads(runner, runner.test_dataloader.dataset, 'test')

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
        """Load some label files and check them."""
        if heads and (missing := label_fault(dataset)):
            raise LabelCheckError(missing)
        try:
            labels = first_labels(dataset, self.num_files)
        except (OSError, ValueError) as error:
            raise LabelCheckError(' '.join(str(error).split())) from error
        fault = value_fault(labels, heads, len(names))
        fault = fault or ignored_fault(labels, heads)
        if fault:
            raise LabelCheckError(fault)
        values = {v for i in labels for v in np.unique(i.label).tolist()}
        self._warned = self._two_tones and values == _BLACK_AND_WHITE
        if self._warned:
            where = f'the {len(labels)} label(s) read, {paths_of(labels)},'
            runner.logger.warning(black_and_white_warning(where, names))

    def _begin(
        self, runner: Runner, dataset: Any, names: Sequence[str]
    ) -> None:
        """Begin to look through an epoch."""
        self._names = names
        self._trained = trained_classes(sample_info(dataset), len(names))
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
        images = f'the {count} image(s) {which}'
        if black_and_white:
            where = f'the labels of {images}'
            runner.logger.warning(black_and_white_warning(where, names))
            return
        listed = [f'{printable(names[i])} ({i})' for i in missing]
        runner.logger.warning(
            f'{len(missing)} of {len(names)} classes of '
            f'{_kind(runner.train_dataloader.dataset)} are labelled in no '
            f'pixel of {images}: {listing(listed, _NAMED)}; check that the '
            'list of classes is that of the masks, index by index; else they '
            'are rare, or crops leave them out, and the model does not learn '
            'them'
        )


def _classes(dataset: Any) -> Sequence[str]:
    """Return the classes of a data set; none if it does not say."""
    names = getattr(dataset, 'metainfo', {}).get('classes') or ()
    return (names,) if isinstance(names, str) else names


def _kind(dataset: Any) -> str:
    """Return the class of a data set, or of the first within a wrapper."""
    return type(leaves(dataset)[0]).__name__
