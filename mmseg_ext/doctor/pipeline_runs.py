"""What the pipelines of data sets make of a few samples."""

import copy
import traceback
import zlib
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Literal, NamedTuple, TypeAlias

import numpy as np
import torch
from mmcv.transforms import LoadAnnotations

from mmseg_ext.doctor.faults import FAULTS
from mmseg_ext.doctor.parts import Part, Place, Sample
from mmseg_ext.engine.label_checks import same_random_numbers, spread
from mmseg_ext.launch.errors import one_line
from mmseg_ext.utils.files import is_special

__all__ = [
    'IMAGES',
    'ROUNDS',
    'Kind',
    'Made',
    'PipelineRun',
    'Step',
    'right_order',
    'run_pipelines',
]

#: So many images of a data set are looked at: few, since each takes as long
#: as in a training, and spread, since the sizes of images may differ.
IMAGES = 4

#: So many more are looked at where the pipeline dropped all of these, as it
#: may drop images without objects, which can be most.
MORE_IMAGES = 100

#: How often each of them. A flip by half chance is the same each time for
#: all of them in one of 256 cases.
ROUNDS = 3

#: What a step is for: loads images or labels, moves pixels, adds a margin,
#: packs the input of the model, or does something else.
Kind: TypeAlias = Literal['image', 'label', 'move', 'pad', 'pack', 'other']

#: Names of classes, or of classes that they are made of, of each kind.
_KINDS: dict[Kind, frozenset[str]] = {
    'image': frozenset(
        {
            'InferencerLoader',
            'LoadBiomedicalData',
            'LoadBiomedicalImageFromFile',
            'LoadImageFromFile',
            'LoadMultiChannelImageFromFiles',
            'LoadMultipleRSImageFromFile',
            'LoadSingleRSImageFromFile',
        }
    ),
    'label': frozenset(
        {
            'LoadAnnotations',
            'LoadBiomedicalAnnotation',
            'LoadColorMasks',
            'LoadDepthAnnotation',
            'LoadEmptyAnnotations',
            'MapLabels',
        }
    ),
    'pack': frozenset(
        {'PackDetInputs', 'PackReIDInputs', 'PackSegInputs', 'PackTrackInputs'}
    ),
    'pad': frozenset({'Pad'}),
    'move': frozenset(
        {
            'CenterCrop',
            'Expand',
            'FusedResizeCropFlip',
            'GeomTransform',
            'MinIoURandomCrop',
            'RandomAffine',
            'RandomCenterCropPad',
            'RandomChoiceResize',
            'RandomCrop',
            'RandomFlip',
            'RandomResize',
            'RandomRotFlip',
            'RandomRotate',
            'RandomShift',
            'RareClassCrop',
            'Resize',
            'ResizeShortestEdge',
            'ResizeToMultiple',
        }
    ),
}

#: Width and height.
_Size: TypeAlias = tuple[int, int]

#: Widths and heights of boxes.
_Boxes: TypeAlias = tuple[tuple[float, float], ...]


class Step(NamedTuple):
    """A step of a pipeline.

    Attributes:
        key: Of the pipeline in the config.
        number: Of the step in it, from 0.
        name: Of its class.
        kind: What it is for.
        package: That its class is of, such as ``'mmcv'``.
    """

    key: str
    number: int
    name: str
    kind: Kind
    package: str = ''

    @property
    def place(self) -> str:
        """Its name and place, in words."""
        return f'{self.name} ({self.key}[{self.number}])'


class Made(NamedTuple):
    """What a step made of an image.

    Attributes:
        step: The step.
        size: Width and height of the image after it; None without one.
        label_size: Those of the label map.
        before: The size of the image before it.
        digest: Of the pixels of the image after it; 0 without one.
    """

    step: Step
    size: _Size | None = None
    label_size: _Size | None = None
    before: _Size | None = None
    digest: int = 0


class PipelineRun(NamedTuple):
    """What the pipelines of a data set made of an image, one time.

    Attributes:
        key: Of the data set in the config.
        image: The image file; empty where it is unknown.
        plan: All steps, those of data sets within first.
        made: What each step made, in the order in which they ran.
        mixed: Whether pixels of other images may be in it.
        failed: The step that failed; None if none did.
        fault: How the data set failed, in one line; None if it did not.
        order: Places of the steps of the pipeline that failed, in the order
            in which it works; None if there is none.
        dropped: Whether the pipeline gave nothing, so that another image is
            taken.
        packed: Whether the input of a model came out.
        dtype: Of that input, such as ``'uint8'``.
        size: Its width and height.
        mean: Its mean by channel, as the pipeline orders and scales them;
            empty without one.
        deviation: Its standard deviations.
        padding: The share of it that ``Pad`` has added, 0 to 1.
        filled: What ``Pad``, or a rotation, has put into the label map, and
            the step that did it.
        original: Width and height of the image before the pipeline.
        loaded: Pixels of each value of the label map as it was loaded, of all
            images that were mixed; None without one.
        label: Those of the label map at the end.
        label_size: Width and height of that.
        boxes_before: Widths and heights of the boxes that were loaded, but
            for those to ignore; None without any annotation.
        boxes_after: Those at the end.
    """

    key: str
    image: str = ''
    plan: tuple[Step, ...] = ()
    made: tuple[Made, ...] = ()
    mixed: bool = False
    failed: Step | None = None
    fault: str | None = None
    order: tuple[int, ...] | None = None
    dropped: bool = False
    packed: bool = False
    dtype: str = ''
    size: _Size | None = None
    mean: tuple[float, ...] = ()
    deviation: tuple[float, ...] = ()
    padding: float = 0.0
    filled: Mapping[int, Step] = {}
    original: _Size | None = None
    loaded: Mapping[int, int] | None = None
    label: Mapping[int, int] | None = None
    label_size: _Size | None = None
    boxes_before: _Boxes | None = None
    boxes_after: _Boxes | None = None


def run_pipelines(
    dataset: Any, parts: Sequence[Part]
) -> Sequence[PipelineRun]:
    """Run the pipeline of a split on a few of its images.

    Only images without fault are taken. Random numbers, and the state of
    transforms that can be copied, stay as they were.

    Args:
        dataset: The whole data set, built; None if it cannot be.
        parts: The data sets within it.
    """
    if dataset is None or not parts:
        return ()
    with same_random_numbers():
        if _mixes(dataset):
            return tuple(_whole_runs(dataset, parts))
        return tuple(run for part in parts for run in _part_runs(part))


def right_order(kinds: Sequence[Kind], evaluated: bool) -> tuple[int, ...]:
    """Return the places of steps in the order in which they belong.

    Images are loaded first, and packed last. Labels are loaded after the
    image, or at the end for an evaluation, which compares at full size.

    Args:
        kinds: What each step is for.
        evaluated: Whether the pipeline is that of an evaluation.
    """
    ranks = ('image', 'other', 'label') if evaluated else ('image', 'label')
    last = len(ranks) if not evaluated else ranks.index('other')

    def rank(place: int) -> int:
        kind = kinds[place]
        if kind == 'pack':
            return len(ranks) + 1
        return ranks.index(kind) if kind in ranks else last

    return tuple(sorted(range(len(kinds)), key=rank))


class _Trace:
    """What happens to an image, step by step."""

    def __init__(self) -> None:
        self.image = ''
        self.made: list[Made] = []
        self.running: Step | None = None
        self.loaded: Counter[int] | None = None
        self.boxes: _Boxes | None = None
        self.padding = 0.0
        self.filled: dict[int, Step] = {}
        self.original: _Size | None = None

    def call(
        self, step: Step, transform: Callable[[Any], Any], results: Any
    ) -> Any:
        """Let a step work."""
        self.running = step
        known = results if isinstance(results, Mapping) else {}
        self.image = self.image or str(known.get('img_path') or '')
        before = _size_of(known.get('img'))
        had_label, had_boxes = 'gt_seg_map' in known, 'gt_bboxes' in known
        label = self._count(step, known)
        if had_label and step.kind == 'label':  # it numbers classes anew
            self.loaded = (self.loaded or Counter()) - label
        drawn = self.made[-1].digest if self.made else 0
        results = transform(results)
        known = results if isinstance(results, Mapping) else {}
        made = _made(step, known, before)
        if self.original is None:
            self.original = made.size
        loads = not had_label or step.kind == 'label'
        if loads and 'gt_seg_map' in known:
            loaded = _histogram(known['gt_seg_map'])
            self.loaded = (self.loaded or Counter()) + Counter(loaded)
        if not had_boxes and 'gt_bboxes' in known:
            self.boxes = _box_sizes(known)
        if step.kind == 'pad' and before and made.size:
            self.padding = 1 - _area(before) / _area(made.size)
            new = self._count(step, known) - label if had_label else ()
            self.filled |= dict.fromkeys(new, step)
        elif step.kind == 'move' and before != made.size:
            self.padding = 0.0
        # RandomRotate keeps the size, and has new corners.
        value = getattr(transform, 'seg_pad_val', None)
        if step.kind == 'move' and value is not None and made.digest != drawn:
            self.filled[value] = step
        self.made.append(made)
        self.running = None
        return results

    def _count(self, step: Step, known: Mapping[str, Any]) -> Counter[int]:
        """Return the pixels of each label, if a step may make new ones."""
        made = step.kind in ('label', 'pad') and 'gt_seg_map' in known
        return Counter(_histogram(known['gt_seg_map']) if made else {})


class _Traced:
    """A transform that is watched; else it looks like itself."""

    def __init__(self, step: Step, transform: Any, trace: _Trace) -> None:
        self._step = step
        self._transform = transform
        self._trace = trace

    def __call__(self, results: Any) -> Any:
        return self._trace.call(self._step, self._transform, results)

    def __getattr__(self, name: str) -> Any:
        if name.startswith('__'):
            raise AttributeError(name)
        return getattr(self._transform, name)


def _mixes(dataset: Any) -> bool:
    """Tell whether what wraps data sets has a pipeline of its own."""
    inner = _inner(dataset)
    own = bool(inner) and hasattr(dataset, 'pipeline')
    return own or any(map(_mixes, inner.values()))


def _inner(dataset: Any) -> dict[str, Any]:
    """Return the data sets directly within a wrapper, by their keys."""
    if hasattr(dataset, 'datasets'):
        return {
            f'datasets.{number}': part
            for number, part in enumerate(dataset.datasets)
        }
    return {'dataset': dataset.dataset} if hasattr(dataset, 'dataset') else {}


def _part_runs(part: Part) -> Iterator[PipelineRun]:
    """Yield runs of a data set without others in it."""
    if part.dataset is None:
        return
    needs_label = _loads_label_map(part.dataset)
    # Of each file once: wrappers are no leaves.
    places = [
        sample.place
        for sample in part.samples
        if _is_healthy(sample, needs_label)
    ]
    # An entry of a video is all its images.
    video = getattr(part.dataset, 'load_as_video', False)
    unknown = [] if video else [Place(n, '') for n in part.unknown]
    kept = False
    for found in (places, unknown):
        for index in spread(len(found), IMAGES):
            for _ in range(ROUNDS):
                run = _place_run(part, found[index])
                kept |= not run.dropped
                yield run
    for index in spread(len(places), MORE_IMAGES) if not kept else ():
        run = _place_run(part, places[index])
        yield run
        if not run.dropped:
            return


def _place_run(part: Part, place: Place) -> PipelineRun:
    """Run the pipeline of a data set on one of its images."""
    run = _run(part.dataset, part.key, place.position, part.split)
    return run._replace(image=place.image or run.image)


def _whole_runs(dataset: Any, parts: Sequence[Part]) -> Iterator[PipelineRun]:
    """Yield runs of a data set that mixes images of others."""
    key = f'{parts[0].split}_dataloader.dataset'
    flawless = all(
        _is_healthy(sample, _loads_label_map(part.dataset))
        for part in parts
        for sample in part.samples
    )
    # Loaders would wait for what is no file.
    places = (sample.place for part in parts for sample in part.samples)
    if any(is_special(p.image) or is_special(p.label or '') for p in places):
        return
    for index in spread(len(dataset), IMAGES):
        for _ in range(ROUNDS):
            run = _run(dataset, key, index, parts[0].split, mixed=True)
            # Which image was at fault is not known: their own checks tell.
            if flawless or run.fault is None:
                yield run


def _loads_label_map(dataset: Any) -> bool:
    """Tell whether a data set has a step that reads a file of labels."""
    return any(
        isinstance(transform, LoadAnnotations) and transform.with_seg
        for transform in _transforms(dataset)
    )


def _is_healthy(sample: Sample, needs_label: bool) -> bool:
    """Tell whether no check of files can have anything to say of a sample."""
    image, label = sample.image, sample.label
    if image.fault is not None or image.size is None:
        return False
    if label is None:
        return not needs_label
    return (
        label.fault is None
        and label.loaded_fault is None
        and label.size == image.size
    )


def _run(
    dataset: Any, key: str, index: int, split: str, mixed: bool = False
) -> PipelineRun:
    """Run all pipelines of a data set on one of its images."""
    trace = _Trace()
    twin, plan = _traced(dataset, key, trace)
    results = fault = order = None
    try:
        results = _item(twin, index)
    # Anything may come out of a user's class.
    except FAULTS as error:
        fault = _fault(error)
        order = _working_order(dataset, plan, trace.running, index, split)
    run = PipelineRun(
        key=key,
        image=trace.image,
        plan=tuple(plan),
        made=tuple(trace.made),
        mixed=mixed,
        failed=trace.running,
        fault=fault,
        order=order,
        dropped=fault is None and results is None,
        padding=trace.padding,
        filled=trace.filled,
        original=trace.original,
        loaded=None if trace.loaded is None else dict(trace.loaded),
        boxes_before=trace.boxes,
    )
    return run if results is None else run._replace(**_outcome(results))


def _fault(error: BaseException) -> str:
    """Return what went wrong in one line; many assertions have no text."""
    if str(error):
        return one_line(error)
    frame = traceback.extract_tb(error.__traceback__)[-1]
    return f'{type(error).__name__} in {frame.name}: {frame.line}'


def _item(dataset: Any, index: int) -> Any:
    """Return what the pipelines make of an image."""
    # For another image in its place BaseDataset would try again.
    if not _inner(dataset) and hasattr(dataset, 'prepare_data'):
        return dataset.prepare_data(index)
    return dataset[index]


def _working_order(
    dataset: Any,
    plan: Sequence[Step],
    failed: Step | None,
    index: int,
    split: str,
) -> tuple[int, ...] | None:
    """Return the order of steps in which a data set without others works."""
    if failed is None or _inner(dataset):
        return None
    order = right_order([step.kind for step in plan], split != 'train')
    if list(order) == sorted(order):
        return None
    twin = copy.copy(dataset)
    transforms = _transforms(dataset)
    _set_transforms(twin, [_copied(transforms[place]) for place in order])
    try:
        _item(twin, index)
    except FAULTS:
        return None
    return order


def _traced(dataset: Any, key: str, trace: _Trace) -> tuple[Any, list[Step]]:
    """Return a copy of a data set that is watched, and its steps."""
    twin = copy.copy(dataset)
    plan: list[Step] = []
    inner = {}
    for name, part in _inner(dataset).items():
        inner[name], steps = _traced(part, f'{key}.{name}', trace)
        plan += steps
    if hasattr(dataset, 'datasets'):
        twin.datasets = list(inner.values())
    elif inner:
        twin.dataset = inner['dataset']
    transforms = _transforms(dataset)
    own = [_step(f'{key}.pipeline', *each) for each in enumerate(transforms)]
    if own:
        watched = [
            _Traced(step, _copied(each), trace)
            for step, each in zip(own, transforms, strict=True)
        ]
        _set_transforms(twin, watched)
    return twin, plan + own


def _step(key: str, number: int, transform: Any) -> Step:
    """Return what a step of a pipeline is."""
    kind = type(transform)
    package = kind.__module__.partition('.')[0]
    return Step(key, number, kind.__name__, _kind(transform), package)


def _transforms(dataset: Any) -> list[Any]:
    """Return the steps of a data set's own pipeline."""
    pipeline = getattr(dataset, 'pipeline', ())
    if isinstance(pipeline, list | tuple):
        return list(pipeline)
    return list(getattr(pipeline, 'transforms', ()))


def _set_transforms(twin: Any, transforms: list[Any]) -> None:
    """Set the steps of a copy of a data set."""
    if isinstance(twin.pipeline, list | tuple):
        twin.pipeline = transforms
    else:
        twin.pipeline = copy.copy(twin.pipeline)
        twin.pipeline.transforms = transforms


def _copied(transform: Any) -> Any:
    """Return a copy of a transform, or itself where that fails."""
    try:
        return copy.deepcopy(transform)
    except FAULTS:  # anybody's
        return transform


def _kind(transform: Any) -> Kind:
    """Return what a transform is for."""
    names = {base.__name__ for base in type(transform).__mro__}
    for kind, members in _KINDS.items():
        if names & members:
            return kind
    return 'other'


def _made(
    step: Step, results: Mapping[str, Any], before: _Size | None
) -> Made:
    """Return what a step made."""
    image = results.get('img', results.get('inputs'))
    return Made(
        step,
        _size_of(image),
        _size_of(results.get('gt_seg_map')),
        before,
        _digest(image),
    )


def _size_of(image: Any) -> _Size | None:
    """Return width and height of an image."""
    if isinstance(image, torch.Tensor) and image.ndim == 3:
        return int(image.shape[2]), int(image.shape[1])
    if isinstance(image, np.ndarray) and image.ndim in (2, 3):
        return int(image.shape[1]), int(image.shape[0])
    return None


def _area(size: _Size) -> int:
    return size[0] * size[1]


def _digest(image: Any) -> int:
    """Return a number that is another for another image."""
    if isinstance(image, torch.Tensor):
        image = image.numpy()
    if not isinstance(image, np.ndarray):
        return 0
    return zlib.crc32(np.ascontiguousarray(image).data)


def _histogram(label: Any) -> dict[int, int]:
    """Return how many pixels of a label map have each value."""
    values, counts = np.unique(np.asarray(label), return_counts=True)
    return {
        int(value): int(count)
        for value, count in zip(values, counts, strict=True)
    }


def _box_sizes(results: Mapping[str, Any]) -> _Boxes:
    """Return widths and heights of boxes that are not to be ignored."""
    boxes = results['gt_bboxes']
    corners = np.asarray(getattr(boxes, 'tensor', boxes)).reshape(-1, 4)
    ignored = results.get('gt_ignore_flags')
    if ignored is not None and len(ignored) == len(corners):
        corners = corners[~np.asarray(ignored, bool)]
    sides = corners[:, 2:] - corners[:, :2]
    return tuple((float(width), float(height)) for width, height in sides)


def _outcome(results: Any) -> dict[str, Any]:
    """Return what came out at the end, as entries of a run."""
    if not isinstance(results, Mapping):
        return {}
    # A test with augmentation gives lists.
    inputs = _first(results.get('inputs'))
    sample = _first(results.get('data_samples'))
    label = results.get('gt_seg_map')
    outcome: dict[str, Any] = {'packed': 'inputs' in results}
    if isinstance(inputs, torch.Tensor) and inputs.ndim == 3:
        outcome |= _of_inputs(inputs)
    if sample is not None and 'gt_sem_seg' in sample:
        label = sample.gt_sem_seg.data
        label = label[0] if len(label) == 1 else label
    if label is not None:
        outcome['label'] = _histogram(label)
        outcome['label_size'] = _size_of(np.asarray(label))
    if sample is not None and 'ori_shape' in sample:
        height, width = sample.ori_shape[:2]
        outcome['original'] = (int(width), int(height))
    if sample is not None and 'gt_instances' in sample:
        boxes = sample.gt_instances.get('bboxes')
        if boxes is not None:
            outcome['boxes_after'] = _box_sizes({'gt_bboxes': boxes})
    return outcome


def _first(value: Any) -> Any:
    """Return the first of a list, or what is no list."""
    return value[0] if isinstance(value, list) and value else value


def _of_inputs(inputs: torch.Tensor) -> dict[str, Any]:
    """Return what is to be known of the input of a model, (C, H, W)."""
    # A sixteenth of the pixels tells the mean as well.
    pixels = inputs[:, ::4, ::4].double().flatten(1)
    return {
        'dtype': str(inputs.dtype).removeprefix('torch.'),
        'size': _size_of(inputs),
        'mean': tuple(pixels.mean(1).tolist()),
        'deviation': tuple(pixels.std(1, correction=0).tolist()),
    }
