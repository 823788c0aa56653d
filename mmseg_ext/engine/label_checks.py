"""What a training needs of labels and heads, told before it begins.

Only functions: which heads a model has and what classes they are for, what
the first label files hold, and which classes a label map has.
"""

import random
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
    'SeenClasses',
    'black_and_white_warning',
    'class_heads',
    'classes_in',
    'first_labels',
    'ignored_fault',
    'label_fault',
    'leaves',
    'may_be_black_and_white',
    'misfit',
    'paths_of',
    'sample_info',
    'samples_of',
    'trained_classes',
    'value_fault',
]

#: Heads whose ``num_classes`` is none of the data set's: edges, and depth.
_OTHER_HEADS = (STDCHead, VPDDepthHead)

#: Parts of a segmentor below which ``num_classes`` is that of a head.
_HEADS = ('decode_head', 'auxiliary_head')

#: Packages whose transforms move and cut label maps, and never change their
#: values but for padding.
_KNOWN = ('mmcv', 'mmseg', 'mmdet', 'mmseg_ext')

#: The transform that tells of masks of 0 and 255 itself.
_TELLS_ITSELF = 'FastLoadAnnotations'


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
        if name.startswith(_HEADS) or isinstance(part, BaseDecodeHead)
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
    counts = {count}
    # Void at the end of a list has no label, so a head can do without it.
    if count and classes[-1].lower() in VOID_NAMES:
        counts.add(count - 1)
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


def first_labels(dataset: Any, num: int) -> list[FirstLabel]:
    """Load some label files of a data set, spread over the whole of it.

    Images are not loaded where the pipeline's loader of labels does without,
    and random numbers are afterwards as they were before.

    Args:
        dataset: Any data set of MMSeg, or a wrapper of some.
        num: How many files at most.

    Returns:
        Those that could be loaded; samples without label give none.

    Raises:
        OSError: A file is missing or cannot be read.
        ValueError: A file is no label of the data set.
    """
    parts = [
        leaf
        for leaf in leaves(dataset)
        if hasattr(leaf, 'get_data_info') and hasattr(leaf, 'pipeline')
    ][:num]
    found = []
    with _same_random_numbers():
        for leaf in parts:
            count = min(num // len(parts), len(leaf))
            for step in range(count):
                label = _load(leaf, step * len(leaf) // count)
                if label is not None:
                    found.append(label)
    return found


def leaves(dataset: Any) -> list[Any]:
    """Return the data sets within wrappers, or the data set itself."""
    if hasattr(dataset, 'datasets'):
        return [leaf for part in dataset.datasets for leaf in leaves(part)]
    if hasattr(dataset, 'dataset'):
        return leaves(dataset.dataset)
    return [dataset]


@contextmanager
def _same_random_numbers() -> Iterator[None]:
    """Leave random numbers as they are."""
    states = random.getstate(), np.random.get_state(), torch.get_rng_state()
    try:
        yield
    finally:
        random.setstate(states[0])
        np.random.set_state(states[1])
        torch.set_rng_state(states[2])


def _load(leaf: Any, index: int) -> FirstLabel | None:
    """Load a label as the pipeline does, or return None without one."""
    path = leaf.get_data_info(index).get('seg_map_path')
    if path is None:
        return None
    steps = getattr(leaf.pipeline, 'transforms', ())
    loaders = [step for step in steps if isinstance(step, LoadAnnotations)]
    fault: Exception | None = None
    # A loader of the user's may want what other steps give.
    for chosen in (loaders, steps):
        try:
            label = _run(chosen, leaf.get_data_info(index))
        except Exception as error:  # loaders are anybody's
            fault = error
            continue
        if label is not None:
            label = _as_handed_over(label, steps, leaf, index)
            return FirstLabel(str(path), label)
    if not isinstance(fault, (OSError, ValueError)):
        # There is no label, or the training itself will say what is wrong.
        return None
    if str(path) in str(fault):
        raise fault
    raise ValueError(
        f'label {printable(path)} cannot be loaded: {fault}'
    ) from fault


def _run(steps: Sequence[Any], results: dict[str, Any]) -> np.ndarray | None:
    """Take steps of a pipeline until there is a label map."""
    for step in steps:
        given = step(results)
        if given is None:
            return None
        results.update(given)
        if 'gt_seg_map' in results:
            return np.asarray(results['gt_seg_map'])
    return None


def _as_handed_over(
    label: np.ndarray, steps: Sequence[Any], leaf: Any, index: int
) -> np.ndarray:
    """Return a label as the whole pipeline makes it, where it changes values.

    A step of the user's may do so after loading; it may also cut the label.
    """
    if all(type(step).__module__.split('.')[0] in _KNOWN for step in steps):
        return label
    with suppress(Exception):
        packed = leaf.pipeline(leaf.get_data_info(index))
        label = packed['data_samples'].gt_sem_seg.data[0].numpy()
    return label


def label_fault(dataset: Any) -> str | None:
    """Say that a data set of MMSeg has no labels, if it has none.

    Training would fail in the loss, which finds no ``gt_sem_seg``.

    Args:
        dataset: Any data set, or a wrapper of some.
    """
    for leaf in leaves(dataset):
        if not isinstance(leaf, BaseSegDataset) or not len(leaf):
            continue
        if leaf.get_data_info(0).get('seg_map_path') is None:
            return (
                f'{type(leaf).__name__}: there are no labels to train with: '
                f'data_prefix={leaf.data_prefix}; expected seg_map_path in '
                'it, the folder of the labels'
            )
    return None


def ignored_fault(
    labels: Sequence[FirstLabel], heads: Sequence[ClassHead]
) -> str | None:
    """Say that all pixels of all labels are ignored, if they are.

    Args:
        labels: Some labels of a data set.
        heads: Heads of the model.
    """
    values = sorted(_ignored(heads))
    if not labels or not all(np.isin(i.label, values).all() for i in labels):
        return None
    return (
        f'every pixel is ignored ({_either(values)}) in all {len(labels)} '
        f'label(s) that were read, {paths_of(labels)}: the training would '
        'learn nothing; check that the classes of the data set are those of '
        'the masks, and its reduce_zero_label, which makes 0 ignored'
    )


def value_fault(
    labels: Sequence[FirstLabel], heads: Sequence[ClassHead], count: int
) -> str | None:
    """Say which label holds what is no class, if one does.

    Args:
        labels: Some labels of a data set.
        heads: Heads of the model.
        count: Number of classes of the data set, where there are no heads.
    """
    ignored = _ignored(heads)
    if None in (head.ignore_index for head in heads):
        return None
    bounds = [2 if head.single else head.num_classes for head in heads]
    end = min(bounds, default=count)
    for path, label in labels if end else ():
        if label.ndim == 3 and label.shape[-1] in (2, 3, 4):
            return (
                f'label {printable(path)} has {label.shape[-1]} channels: '
                'expected one, of class indices; save it again as a gray '
                'PNG, or read colors with ColorMaskDataset and LoadColorMasks'
            )
        outside = (label < 0) | (label >= end)
        outside &= ~np.isin(label, sorted(ignored))
        if outside.any():
            values = np.unique(label[outside]).tolist()
            return (
                f'label {printable(path)} holds the value(s) '
                f'{listing(values)}: expected class indices 0 to {end - 1}, '
                f'or {_either(sorted(ignored))} for pixels without class; '
                'give the data set and the heads all classes of the masks, or '
                'convert the masks'
            )
    return None


def _ignored(heads: Sequence[ClassHead]) -> set[int]:
    """Return the labels that losses leave out."""
    found = {h.ignore_index for h in heads if h.ignore_index is not None}
    return found or {IGNORE_INDEX}


def _either(values: Sequence[int]) -> str:
    return ' or '.join(map(str, values))


def paths_of(labels: Sequence[FirstLabel]) -> str:
    """Return the paths of the first few labels, for a message."""
    return listing([printable(path) for path, _ in labels], 3)


def sample_info(dataset: Any) -> dict[str, Any]:
    """Return what a data set knows of its first sample.

    Args:
        dataset: Any data set, or a wrapper of some.
    """
    leaf = leaves(dataset)[0]
    known: dict[str, Any] = (
        leaf.get_data_info(0) if hasattr(leaf, 'get_data_info') else {}
    )
    return known


def trained_classes(info: Mapping[str, Any], count: int) -> set[int]:
    """Return the classes that the labels of a data set can have.

    Void has a place in the list of classes, and its pixels are ignored.

    Args:
        info: What the data set knows of a sample.
        count: Number of its classes.
    """
    if 'index_map' not in info:
        return set(range(count))
    new = info.get('label_map') or {}
    indices = {new.get(index, index) for index in info['index_map']}
    return indices & set(range(count))


def may_be_black_and_white(dataset: Any) -> bool:
    """Tell whether labels of 0 and 255 alone mean masks of black and white.

    Not so where masks have colors or where classes were left out. A loader
    that tells of them itself needs no second warning.

    Args:
        dataset: Any data set, or a wrapper of some.
    """
    info = sample_info(dataset)
    steps = getattr(
        getattr(leaves(dataset)[0], 'pipeline', None), 'transforms', ()
    )
    return (
        'color_map' not in info
        and not info.get('label_map')
        and all(type(step).__name__ != _TELLS_ITSELF for step in steps)
    )


def black_and_white_warning(where: str, names: Sequence[str]) -> str:
    """Say that labels hold 0 and 255 alone, and what to do.

    Args:
        where: The labels, in words.
        names: Classes of the data set.
    """
    return (
        f'{where} hold 0 and 255 alone, and 255 means ignored: no other class '
        f'than {names[0]} (0) is trained; save the masks again with 1 in '
        'place of 255, or read them as colors, with ColorMaskDataset, '
        'LoadColorMasks and black (0, 0, 0) and white (255, 255, 255) in '
        'class_dict; if they hold 0 and 1, reduce_zero_label=True made them '
        '255 and 0'
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

    The time is that of a copy to 8 bits; each class takes little more.

    Args:
        sample: A sample with a label.
        wanted: The classes to look for.
    """
    label = sample.gt_sem_seg.data
    if max(wanted, default=0) > np.iinfo(np.uint8).max:
        return set(label.unique().tolist()) & set(wanted)
    data = label.to(torch.uint8).cpu().numpy().tobytes()
    return {index for index in wanted if index in data}
