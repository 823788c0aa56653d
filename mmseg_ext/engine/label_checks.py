"""What a training needs of labels and heads, told before it begins.

Only functions: which heads a model has and what classes they are for, what
the first label files hold, and which classes a label map has.
"""

import copy
import random
import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Any, NamedTuple, cast

import numpy as np
import torch
from mmcv.transforms import LoadAnnotations
from mmengine.dist import all_reduce
from mmengine.model import BaseTTAModel, is_model_wrapper
from mmseg.datasets import BaseSegDataset
from mmseg.models.decode_heads import STDCHead
from mmseg.models.decode_heads.decode_head import BaseDecodeHead
from mmseg.models.decode_heads.vpd_depth_head import VPDDepthHead
from mmseg.structures import SegDataSample
from torch import nn

from mmseg_ext.formats.color_masks import IGNORE_INDEX, VOID_NAMES
from mmseg_ext.utils.text import listing, printable

__all__ = [
    'ClassHead',
    'FirstLabel',
    'LabelPlace',
    'SeenClasses',
    'black_and_white_warning',
    'class_fault',
    'class_heads',
    'classes_in',
    'count_within',
    'first_labels',
    'fitting_numbers',
    'ignored_fault',
    'ignored_labels',
    'label_fault',
    'label_loader',
    'label_places',
    'leaves',
    'may_be_black_and_white',
    'misfit',
    'outside_text',
    'paths_of',
    'read_label',
    'same_random_numbers',
    'sample_info',
    'samples_of',
    'spread',
    'trained_classes',
    'transform_fault',
    'unseen_classes',
    'value_fault',
]

#: Heads whose ``num_classes`` is none of the data set's: edges, and depth.
_OTHER_HEADS = (STDCHead, VPDDepthHead)

#: Places of the heads in a segmentor; parts within a head may tell apart
#: something else.
_HEADS = re.compile(r'(decode|auxiliary)_head(\.\d+)?')

#: Packages whose transforms move and cut label maps, and never change their
#: values but for padding, and for MapLabels.
_KNOWN = ('mmcv', 'mmengine', 'mmseg', 'mmdet', 'mmseg_ext')

#: How to do without a check that is wrong.
_WAY_OUT = 'num_files=0 of LabelCheckHook leaves this check out'

#: A path that is in no message.
_NO_PATH = '\0'

#: The transform that changes the values of labels once they are loaded.
_RENUMBERS = 'MapLabels'

#: The transforms that tell of masks of 0 and 255 themselves.
_TELL_THEMSELVES = ('FastLoadAnnotations', 'LoadColorMasks')


class ClassHead(NamedTuple):
    """A head, or a whole model, that tells classes apart.

    Attributes:
        name: Its place in the model, such as ``'auxiliary_head.0'``; the
            empty text for the model itself.
        num_classes: What its config says.
        single: Whether it has one output for two classes, with a threshold.
        ignore_index: Label that takes no part in its losses; None if all do.
    """

    name: str
    num_classes: int
    single: bool = False
    ignore_index: int | None = IGNORE_INDEX

    @property
    def key(self) -> str:
        """The key of its number of classes in a config."""
        return '.'.join(filter(None, ['model', self.name, 'num_classes']))

    def fits(self, count: int) -> bool:
        """Tell whether it can tell as many classes apart."""
        # One output is one class, with or without its background.
        return count == self.num_classes or (self.single and count in (1, 2))


class FirstLabel(NamedTuple):
    """A label file of a data set, as its pipeline loads it.

    Attributes:
        path: The file.
        label: Label map, (H, W) where nothing is wrong.
    """

    path: str
    label: np.ndarray


class LabelPlace(NamedTuple):
    """Where the label of an image of a data set comes from.

    Attributes:
        dataset: The data set, or one within it.
        position: Which of its images.
        whole: Whether its whole pipeline makes the label, not a loader alone.
    """

    dataset: Any
    position: int
    whole: bool


class SeenClasses:
    """Which classes the labels of a training have, over all processes.

    Args:
        wanted: The classes to look for.
    """

    def __init__(self, wanted: Iterable[int]) -> None:
        self._wanted = sorted(wanted)
        self._missing = set(self._wanted)
        self._images = 0

    def add(self, samples: Sequence[SegDataSample]) -> None:
        """Look through the labels of some samples."""
        self._images += len(samples)
        for sample in samples if self._missing else ():
            self._missing -= classes_in(sample, self._missing)

    def result(self) -> tuple[int, set[int]]:
        """Return the number of samples and the classes that they have.

        All processes have to call it.
        """
        found = [index not in self._missing for index in self._wanted]
        total = torch.tensor([self._images, *found])
        all_reduce(total)
        images, *counts = total.tolist()
        return images, {
            index
            for index, count in zip(self._wanted, counts, strict=True)
            if count
        }


def class_heads(model: nn.Module) -> list[ClassHead]:
    """Return the heads of a segmentor, and those within them.

    Args:
        model: The segmentor, or what wraps one to train or test it.

    Returns:
        All whose number of classes is that of the data set; the model itself
        where it has no such part but a number of classes.
    """
    while is_model_wrapper(model) or isinstance(model, BaseTTAModel):
        model = cast(nn.Module, model.module)
    parts = {
        name: part
        for name, part in model.named_modules()
        if _HEADS.fullmatch(name) or isinstance(part, BaseDecodeHead)
    }
    return [
        ClassHead(
            name,
            part.num_classes,
            isinstance(part, BaseDecodeHead) and part.out_channels == 1,
            getattr(part, 'ignore_index', IGNORE_INDEX),
        )
        for name, part in (parts or {'': model}).items()
        if isinstance(getattr(part, 'num_classes', None), int)
        and not isinstance(part, _OTHER_HEADS)
    ]


def fitting_numbers(classes: Sequence[str]) -> set[int]:
    """Return the numbers of classes that fit a data set.

    Void at the end of a list has no label, so a head can do without it.

    Args:
        classes: Its classes.
    """
    count = len(classes)
    void = count > 0 and classes[-1].lower() in VOID_NAMES
    return {count - void, count}


def misfit(
    heads: Sequence[ClassHead], classes: Sequence[str], source: str
) -> str | None:
    """Say which heads are for another number of classes, if any are.

    Args:
        heads: Heads of the model.
        classes: Classes of the data set.
        source: The data set, in words.
    """
    count = len(classes)
    counts = fitting_numbers(classes)
    wrong = [head for head in heads if not any(map(head.fits, counts))]
    if not wrong:
        return None
    settings = ' and '.join(f'{h.key}={h.num_classes}' for h in wrong)
    return (
        f'{settings}, but {source} has {count} classes '
        f'({listing(classes)}): set num_classes={count} in the config, '
        'or give the data set the classes that the model is for; a head that '
        'is meant to have others goes into skip_heads of LabelCheckHook'
    )


def transform_fault(dataset: Any, classes: Sequence[str]) -> str | None:
    """Say which transform is for other classes, if one is.

    Those that can be, such as ``RareClassCrop``, have ``check_classes``.

    Args:
        dataset: Any data set, or a wrapper of some.
        classes: Its classes.
    """
    for step in _steps(dataset):
        check = getattr(step, 'check_classes', None)
        if check is not None and _is_known(type(step)):
            try:
                check(fitting_numbers(classes))
            except ValueError as error:
                return f'{error} ({listing(classes)})'
    return None


def first_labels(dataset: Any, num: int) -> list[FirstLabel]:
    """Load some labels of a data set, spread over the whole of it.

    Only label files are loaded where all is MMSeg's or ours; with a data set
    or transform of the user's a label is what the whole pipeline hands over.
    Random numbers, and the state of the user's transforms, stay as they were.

    Args:
        dataset: Any data set of MMSeg, or a wrapper of some.
        num: How many at most.

    Returns:
        Those that could be loaded; samples without label give none.

    Raises:
        OSError: A file is missing or cannot be read.
        ValueError: A file is no label of the data set.
    """
    with same_random_numbers():
        return list(_labels(dataset, num))


def label_places(dataset: Any) -> list[LabelPlace]:
    """Return where the label of each image of a data set comes from.

    Images that wrappers repeat have equal places. As in
    :func:`first_labels`, loaders alone are used where all is MMSeg's or ours.

    Args:
        dataset: Any data set of MMSeg, or a wrapper of some.

    Returns:
        One for each image, in the order of the data set.

    Raises:
        TypeError: A transform of the user's cannot be copied.
    """
    if _is_plain(dataset):
        return [LabelPlace(*place, False) for place in _order(dataset)]
    try:
        twin = _twin(dataset)
    except _NotCopied as error:
        raise TypeError(
            f'{type(dataset).__name__} cannot be copied, to read its labels '
            f'beside the training: {error.__cause__}'
        ) from error
    return [LabelPlace(twin, index, True) for index in range(len(twin))]


def read_label(place: LabelPlace) -> FirstLabel:
    """Load the label of an image.

    Random numbers change where the whole pipeline makes it: see
    :func:`same_random_numbers`.

    Args:
        place: Where it comes from.

    Raises:
        OSError: A file is missing or cannot be read.
        ValueError: There is no label, or a file is no label of the data set.
    """
    dataset, index, whole = place
    read = _hand_over if whole else _load
    for label in read(dataset, index, strict=True):
        return label
    info: Mapping[str, Any] = {}
    with suppress(Exception):
        info = dataset.get_data_info(index)
    raise ValueError(
        f'{type(dataset).__name__}: image '
        f'{printable(info.get("img_path") or str(index))} has no label: '
        'expected seg_map_path in data_prefix, the folder of the labels, and '
        'LoadAnnotations in the pipeline'
    )


def _order(dataset: Any) -> list[tuple[Any, int]]:
    """Return the data set without others in it, and the index, of each."""
    if hasattr(dataset, 'datasets'):
        return [place for part in dataset.datasets for place in _order(part)]
    if not hasattr(dataset, 'dataset'):
        return [(dataset, index) for index in range(len(dataset))]
    inner = _order(dataset.dataset)
    if hasattr(dataset, 'repeat_indices'):  # ClassBalancedDataset
        return [inner[index] for index in dataset.repeat_indices]
    return [inner[index % len(inner)] for index in range(len(dataset))]


def count_within(dataset: Any, num: int, values: Collection[int]) -> int:
    """Count labels, if none has another value.

    Args:
        dataset: Any data set of MMSeg, or a wrapper of some.
        num: How many to load at most.
        values: What they may hold.

    Returns:
        How many files were looked at; 0 as soon as one has another value.

    Raises:
        OSError: A file is missing or cannot be read.
        ValueError: A file is no label of the data set.
    """
    paths = set()
    with same_random_numbers():
        for path, label in _labels(dataset, num, again=True):
            if not _is_within(label, values):
                return 0
            paths.add(path)
    return len(paths)


def leaves(dataset: Any) -> list[Any]:
    """Return the data sets within wrappers, or the data set itself."""
    return [part for part in _tree(dataset) if not _inner(part)]


def _inner(dataset: Any) -> list[Any]:
    """Return the data sets directly within a wrapper."""
    if hasattr(dataset, 'datasets'):
        return list(dataset.datasets)
    return [dataset.dataset] if hasattr(dataset, 'dataset') else []


def _tree(dataset: Any) -> Iterator[Any]:
    """Yield a data set and all within it."""
    yield dataset
    for part in _inner(dataset):
        yield from _tree(part)


def _steps(dataset: Any) -> Iterator[Any]:
    """Yield all transforms of a data set, its wrappers, and within others."""
    for part in _tree(dataset):
        yield from _flat(getattr(part, 'pipeline', ()))


def _flat(step: Any) -> Iterator[Any]:
    """Yield a transform and all within it."""
    if isinstance(step, list | tuple):
        for part in step:
            yield from _flat(part)
    # Albu has configs of transforms that are not OpenMMLab's.
    elif not isinstance(step, Mapping):
        yield step
        for name in ('transforms', 'subroutines'):
            yield from _flat(getattr(step, name, ()))


def _is_known(thing: Any) -> bool:
    """Tell whether a class or function is of a package that we know."""
    module = getattr(thing, '__module__', None) or 'builtins'
    return module.split('.')[0] in _KNOWN


def _is_plain(dataset: Any) -> bool:
    """Tell whether loaders alone give labels with the values to train."""
    return (
        all(_is_known(type(step)) for step in _steps(dataset))
        and all(
            _is_known(getattr(type(part), name))
            for part in _tree(dataset)
            for name in ('__getitem__', 'prepare_data')
            if hasattr(type(part), name)
        )
        and all(
            hasattr(leaf, 'get_data_info') and label_loader(leaf)
            for leaf in leaves(dataset)
        )
    )


def label_loader(leaf: Any) -> LoadAnnotations | None:
    """Return the transform of a data set that loads labels.

    Args:
        leaf: A data set without others in it.

    Returns:
        None where it is not one of MMSeg's kind, or there is none.
    """
    for step in getattr(getattr(leaf, 'pipeline', None), 'transforms', ()):
        if isinstance(step, LoadAnnotations):
            return step
    return None


@contextmanager
def same_random_numbers() -> Iterator[None]:
    """Leave random numbers as they are, and draw the same in all processes."""
    states = random.getstate(), np.random.get_state()
    on_cuda = torch.cuda.is_initialized()
    devices = range(torch.cuda.device_count()) if on_cuda else ()
    with torch.random.fork_rng(devices):
        random.seed(0)
        np.random.seed(0)
        # torch.manual_seed would seed the devices as well, even later on.
        torch.default_generator.manual_seed(0)
        try:
            yield
        finally:
            random.setstate(states[0])
            np.random.set_state(states[1])


def _labels(
    dataset: Any, num: int, again: bool = False
) -> Iterator[FirstLabel]:
    """Yield labels from anywhere in a data set.

    Args:
        dataset: Any data set of MMSeg, or a wrapper of some.
        num: How many to load at most.
        again: Load so many where each time others may come out of a file.
    """
    if _is_plain(dataset):
        parts = [leaf for leaf in leaves(dataset) if len(leaf)][:num]
        for leaf in parts:
            for index in spread(len(leaf), num // len(parts)):
                yield from _load(leaf, index)
    elif hasattr(dataset, '__len__'):
        with suppress(_NotCopied):
            twin = _twin(dataset)
            size = len(twin)
            rounds = -(-num // size) if again and size else 1
            for index in spread(size, num) * rounds:
                yield from _hand_over(twin, index)


def spread(size: int, num: int) -> list[int]:
    """Return positions, one of each of equal parts, at no even distance."""
    count = min(size, num)
    # Always the same, so that a run can be repeated.
    chance = random.Random(0)
    return [
        chance.randrange(part * size // count, (part + 1) * size // count)
        for part in range(count)
    ]


class _NotCopied(Exception):
    """A data set is of a kind that cannot be copied."""


def _twin(dataset: Any) -> Any:
    """Return a data set with transforms of its own.

    Those of the training may count, or have a cache or random numbers.
    """
    try:
        twin = copy.copy(dataset)
        if hasattr(dataset, 'datasets'):
            twin.datasets = [_twin(part) for part in dataset.datasets]
        elif hasattr(dataset, 'dataset'):
            twin.dataset = _twin(dataset.dataset)
        if hasattr(dataset, 'pipeline'):
            twin.pipeline = copy.deepcopy(dataset.pipeline)
    except Exception as error:  # anybody's
        raise _NotCopied from error
    return twin


def _load(leaf: Any, index: int, strict: bool = False) -> Iterator[FirstLabel]:
    """Yield a label as the loader gives it, if there is one.

    Args:
        leaf: A data set without others in it.
        index: Which of its samples.
        strict: Whether all errors are raised.
    """
    info = leaf.get_data_info(index)
    path = info.get('seg_map_path')
    loader = label_loader(leaf)
    if path is None or loader is None:
        return
    try:
        results = loader(info)
        for step in leaf.pipeline.transforms:
            if type(step).__name__ == _RENUMBERS:
                results = step(results)
        yield FirstLabel(str(path), np.asarray(results['gt_seg_map']))
    except Exception as error:
        clear = isinstance(error, OSError | ValueError)
        if clear and str(path) in str(error):
            raise
        # Of others the training itself will say what is wrong.
        if clear or strict:
            raise ValueError(
                f'label {printable(path)} cannot be loaded: {error}'
            ) from error


def _hand_over(
    twin: Any, index: int, strict: bool = False
) -> Iterator[FirstLabel]:
    """Yield a label as the whole pipeline makes it, if there is one.

    Args:
        twin: A data set that may be used up.
        index: Which of its samples.
        strict: Whether all errors are raised.
    """
    try:
        results = twin[index]
        sample = results.get('data_samples')
        if 'gt_sem_seg' not in (sample or ()) and 'gt_seg_map' not in results:
            return
        label = sample.gt_sem_seg.data
    except Exception as error:
        # Others may depend on chance; the training will say what is wrong.
        path = _path(twin, index)
        if isinstance(error, OSError | ValueError) and path in str(error):
            raise
        if strict and path != _NO_PATH:
            raise ValueError(
                f'label {printable(path)} cannot be loaded: {error}'
            ) from error
        return
    path = sample.get('seg_map_path') or f'of {sample.get("img_path")}'
    yield FirstLabel(
        str(path), np.asarray(label[0] if len(label) == 1 else label)
    )


def _path(dataset: Any, index: int) -> str:
    """Return the file of a label, or what is in no message."""
    info: Mapping[str, Any] = {}
    with suppress(Exception):
        info = dataset.get_data_info(index)
    return str(info.get('seg_map_path') or _NO_PATH)


def label_fault(dataset: Any, evaluated: bool = False) -> str | None:
    """Say that a data set of MMSeg has no labels, if that is sure.

    A loader would fail for want of ``seg_map_path``, or the loss or the
    evaluation for want of ``gt_sem_seg``. Where labels come from elsewhere,
    or none are to be loaded for the training, nothing is said.

    Args:
        dataset: Any data set, or a wrapper of some.
        evaluated: Whether each sample must have a label.
    """
    loaded = any(isinstance(s, LoadAnnotations) for s in _steps(dataset))
    wrapped = any(
        _inner(part) and hasattr(part, 'pipeline') for part in _tree(dataset)
    )
    parts = leaves(dataset)
    without = []
    with same_random_numbers():
        for leaf in parts:
            if isinstance(leaf, BaseSegDataset) and len(leaf):
                labeled = _has_label(leaf)
                if labeled is None:
                    return _no_labels(leaf, evaluated)
                if not labeled:
                    without.append(leaf)
    sure = evaluated or (loaded and len(without) == len(parts))
    # What stands around a data set may still make labels.
    if not without or not sure or wrapped:
        return None
    return _no_labels(without[0], evaluated)


def _has_label(leaf: BaseSegDataset) -> bool | None:
    """Tell whether a sample has a label; None if its loader wants a file.

    Where it cannot be told, there is one.
    """
    if leaf.get_data_info(0).get('seg_map_path') is not None:
        return True
    try:
        results = _twin(leaf)[0]
        sample = results.get('data_samples')
        # Of a test with augmentation.
        sample = sample[0] if isinstance(sample, list) else sample
        return 'gt_seg_map' in results or 'gt_sem_seg' in (sample or ())
    except KeyError as error:
        return None if error.args == ('seg_map_path',) else True
    except Exception:
        return True


def _no_labels(leaf: BaseSegDataset, evaluated: bool) -> str:
    purpose = 'compare' if evaluated else 'train'
    return (
        f'{type(leaf).__name__}: there are no labels to {purpose} with: '
        f'data_prefix={leaf.data_prefix}; expected seg_map_path in it, the '
        f'folder of the labels ({_WAY_OUT})'
    )


def ignored_fault(
    labels: Sequence[FirstLabel],
    heads: Sequence[ClassHead],
    count: int | None = None,
) -> str | None:
    """Say that all pixels of all labels are ignored, if they are.

    Args:
        labels: Some labels of a data set.
        heads: Heads of the model.
        count: How many were looked at, if not these alone.
    """
    values = ignored_labels(heads)
    if not labels or not all(_is_within(i.label, values) for i in labels):
        return None
    return (
        f'every pixel is ignored ({_either(values)}) in all '
        f'{count or len(labels)} label(s) that were read, '
        f'{paths_of(labels)}: the training would learn nothing; check that '
        'the classes of the data set are those of the masks, and its '
        'reduce_zero_label, which makes 0 ignored; if few files are labeled, '
        f'{_WAY_OUT}'
    )


def _is_within(label: np.ndarray, values: Collection[int]) -> bool:
    return bool(np.isin(label, list(values)).all())


def value_fault(
    labels: Sequence[FirstLabel], heads: Sequence[ClassHead], count: int
) -> str | None:
    """Say which label holds what is no class, if one does.

    Args:
        labels: Some labels of a data set.
        heads: Heads of the model.
        count: Number of classes of the data set, where there are no heads.
    """
    ignored = ignored_labels(heads)
    if None in (head.ignore_index for head in heads):
        return None
    bounds = [2 if head.single else head.num_classes for head in heads]
    end = min(bounds, default=count)
    for label in labels if end else ():
        if fault := class_fault(label, end, ignored):
            return f'{fault} ({_WAY_OUT})'
    return None


def class_fault(
    label: FirstLabel, end: int, ignored: Sequence[int]
) -> str | None:
    """Say that a label holds what is no class, if it does.

    Args:
        label: A label of a data set.
        end: Number of classes.
        ignored: Values of pixels without class.
    """
    path, values = label
    if values.ndim == 3 and values.shape[-1] in (2, 3, 4):
        return (
            f'label {printable(path)} has {values.shape[-1]} channels: '
            'expected one, of class indices; save it again as a gray '
            'PNG, or read colors with ColorMaskDataset and LoadColorMasks'
        )
    outside = (values < 0) | (values >= end)
    outside &= ~np.isin(values, ignored)
    if not outside.any():
        return None
    found = np.unique(values[outside]).tolist()
    return (
        f'label {printable(path)} {outside_text(found, end, ignored)}; give '
        'the data set and the heads all classes of the masks, or convert the '
        'masks'
    )


def outside_text(
    found: Sequence[int], end: int, ignored: Sequence[int]
) -> str:
    """Say which values of a label are no class, as a clause.

    Args:
        found: The values.
        end: Number of classes.
        ignored: Values of pixels without class.
    """
    return (
        f'holds the value(s) {listing(found)}: expected class indices 0 to '
        f'{end - 1}, or {_either(ignored)} for pixels without class'
    )


def ignored_labels(heads: Sequence[ClassHead]) -> list[int]:
    """Return the labels that losses leave out.

    Args:
        heads: Heads of the model.
    """
    found = {h.ignore_index for h in heads if h.ignore_index is not None}
    return sorted(found or {IGNORE_INDEX})


def _either(values: Sequence[int]) -> str:
    return ' or '.join(map(str, values))


def paths_of(labels: Sequence[FirstLabel]) -> str:
    """Return the paths of the first few labels, for a message."""
    paths = dict.fromkeys(printable(path) for path, _ in labels)
    return listing(list(paths), 3)


def sample_info(dataset: Any) -> dict[str, Any]:
    """Return what a data set knows of its first sample.

    Args:
        dataset: Any data set, or a wrapper of some.
    """
    known: dict[str, Any] = {}
    # It may be empty, or of another kind.
    with suppress(Exception):
        known = leaves(dataset)[0].get_data_info(0)
    return known


def trained_classes(info: Mapping[str, Any], names: Sequence[str]) -> set[int]:
    """Return the classes that the labels of a data set can have.

    Void has a place in the list of classes, and its pixels are ignored.

    Args:
        info: What the data set knows of a sample.
        names: Its classes.
    """
    if 'index_map' not in info:
        return {
            index
            for index, name in enumerate(names)
            if name.lower() not in VOID_NAMES
        }
    new = info.get('label_map') or {}
    indices = {new.get(index, index) for index in info['index_map']}
    return indices & set(range(len(names)))


def unseen_classes(
    dataset: Any, counts: np.ndarray, names: Sequence[str]
) -> list[int]:
    """Return the classes that labels can have, and of which none has a pixel.

    Args:
        dataset: Any data set of MMSeg, or a wrapper of some.
        counts: Pixels of each class, (images, classes).
        names: The classes.
    """
    trained = trained_classes(sample_info(dataset), names)
    without = np.flatnonzero(counts.sum(axis=0) == 0).tolist()
    return [index for index in without if index in trained]


def may_be_black_and_white(dataset: Any) -> bool:
    """Tell whether labels of 0 and 255 alone mean masks of black and white.

    Not so where classes were left out. A loader that tells of them itself
    needs no second warning.

    Args:
        dataset: Any data set, or a wrapper of some.
    """
    info = sample_info(dataset)
    return not info.get('label_map') and all(
        type(s).__name__ not in _TELL_THEMSELVES for s in _steps(dataset)
    )


def black_and_white_warning(
    where: str, names: Sequence[str], reduced: bool = False, some: bool = False
) -> str:
    """Say that labels hold 0 and 255 alone, and what to do.

    Args:
        where: The labels, in words.
        names: Classes of the data set.
        reduced: Whether ``reduce_zero_label`` has changed them.
        some: Whether there are others.
    """
    mend = (
        'that is what reduce_zero_label=True makes of masks of 0 and 1, so '
        'set it to False if 0 is a class'
        if reduced
        else 'save the masks again with 1 in place of 255, put '
        'MapLabels(label_map={255: 1}) after the transform that loads them, '
        'or read them as colors, with ColorMaskDataset, LoadColorMasks and '
        'black (0, 0, 0) and white (255, 255, 255) in class_dict'
    )
    return (
        f'{where} hold 0 and 255 alone, and 255 means ignored: '
        + 'if all are so, ' * some
        + f'no other class than {names[0]} (0) is trained or scored; {mend}'
    )


def samples_of(batch: Any) -> list[SegDataSample]:
    """Return the samples of a batch that have a label.

    Args:
        batch: What the data loader gives.
    """
    samples = batch.get('data_samples') if isinstance(batch, Mapping) else None
    if not isinstance(samples, Sequence):
        return []
    return [s for s in samples if hasattr(s, 'gt_sem_seg')]


def classes_in(sample: SegDataSample, wanted: Collection[int]) -> set[int]:
    """Return those of some classes that a label map has.

    The time is that of a copy to 8 bits; each class takes little more, and
    one that is found a comparison.

    Args:
        sample: A sample with a label.
        wanted: The classes to look for.
    """
    label = sample.gt_sem_seg.data
    if max(wanted, default=0) > np.iinfo(np.uint8).max:
        return set(label.unique().tolist()) & set(wanted)
    data = label.to(torch.uint8).cpu().numpy().tobytes()
    found = {index for index in wanted if index in data}
    # In 8 bits -1 is 255.
    return {index for index in found if (label == index).any()}
