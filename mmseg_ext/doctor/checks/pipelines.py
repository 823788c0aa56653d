"""Pipelines: their order, what they make of images and labels."""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from mmseg_ext.doctor.case import Case, Split
from mmseg_ext.doctor.checks.labels import JudgedPart, judge_labels
from mmseg_ext.doctor.config_entries import pipeline_at, preprocessor_of
from mmseg_ext.doctor.findings import Code, Finding, Level, check
from mmseg_ext.doctor.parts import LabelScan, Part
from mmseg_ext.doctor.pipeline_runs import PipelineRun, Step, right_order
from mmseg_ext.formats.color_masks import IGNORE_INDEX
from mmseg_ext.utils.text import listing

__all__ = [
    'batches_can_be_stacked',
    'crops_are_filled',
    'crops_can_be_mixed',
    'evaluation_is_not_random',
    'labels_stay_classes',
    'pipelines_are_in_order',
    'pipelines_are_whole',
    'pipelines_run',
]

#: So large a share of padding is told, and only where nearly all crops have
#: some: MMSeg's own recipes have a sixth on average, as about half of their
#: crops come from images that were made smaller, by chance.
PADDING, NEARLY_ALL = 0.25, 0.9

#: Fewer crops than this may all be of images that were made smaller.
CROPS = 6

#: Shares of images of which no crop meets ``cat_max_ratio``: worth to know,
#: and worth a change. CamVid at 0.75 has none, Cityscapes hardly any.
SOME, MOST = 0.1, 0.5

#: By how much a share of a class may change when labels are resized.
RESIZED = 0.02

#: Sizes that nets like are multiples of it.
STRIDE = 32

FAILS = Code(
    'pipeline-fails',
    Level.ERROR,
    'a worker of the dataloader ends with this error, and the run with it',
    'see the text: it names the step; change its options, or the steps before',
)
ORDER = Code(
    'pipeline-order',
    Level.ERROR,
    'KeyError in the dataloader, labels that do not fit their images, or '
    '"The shape of the mask ... does not match" at the first validation',
    'training: load image, load labels, change both, pack; evaluation: load '
    'image, resize, load labels, pack',
)
INCOMPLETE = Code(
    'pipeline-incomplete',
    Level.ERROR,
    "KeyError: 'inputs', or no attribute gt_sem_seg or gt_instances, in the "
    'first iteration',
    'add the step that the text names',
)
RANDOM = Code(
    'pipeline-random',
    Level.WARNING,
    'scores differ from one evaluation to the next, and are no measure of '
    'the images as they are',
    'take random steps out of the pipelines of val and test',
)
LABEL = Code(
    'label-after-pipeline',
    Level.ERROR,
    'CUDA error: device-side assert triggered, or Target ... is out of bounds',
    'set seg_pad_val of the step to the ignored index, 255; resize labels by '
    'the nearest pixel',
)
FILLED = Code(
    'padding-is-class',
    Level.WARNING,
    'padding is learned as a class, which is then predicted along edges',
    'set seg_pad_val of the step, or seg in pad_val of Pad, to the ignored '
    'index, 255',
)
PADDED = Code(
    'crop-padding',
    Level.WARNING,
    'time and memory go into padding, and batch norm counts it in',
    'make crop_size and data_preprocessor.size smaller, or resize images to '
    'more',
)
BATCH = Code(
    'batch-sizes',
    Level.ERROR,
    '"stack expects each tensor to be equal size" or "The image size in a '
    'batch should be the same", as soon as two sizes meet',
    'crop to one size, or set size_divisor of data_preprocessor in place of '
    'size; evaluate with batch_size=1',
)
MIXED = Code(
    'cat-max-ratio',
    Level.WARNING,
    'ten crops are drawn and counted of each such image, and the last is '
    'taken whatever it holds',
    'set cat_max_ratio=1.0, or a ratio that images can meet',
)


@check(FAILS, ORDER)
def pipelines_run(case: Case) -> Iterator[Finding]:
    """Yield pipelines that fail on images whose files are whole."""
    for split in case.splits.values():
        told: set[object] = set()
        for run in split.runs:
            if run.fault is None or not _is_sure(case, split, run):
                continue
            place = run.failed.place if run.failed else run.key
            topic = run.order or (place, run.image)
            if topic in told:
                continue
            told.add(topic)
            text = f'{place} fails: {run.fault}'
            if run.order and run.failed:
                change = _reordered(case, run.failed.key, run.order)
                text = f'{text}; it works with {_names(change)}'
                yield ORDER.found(text, split.name, run.image, change=change)
            else:
                yield FAILS.found(text, split.name, run.image)
        yield from _all_dropped(split)


def _all_dropped(split: Split) -> Iterator[Finding]:
    """Yield pipelines that give nothing for all images."""
    runs: dict[str, list[PipelineRun]] = {}
    for run in split.runs:
        runs.setdefault(run.key, []).append(run)
    for found in runs.values():
        first = found[0]
        if first.made and all(run.dropped for run in found):
            images = {run.image for run in found}
            yield FAILS.found(
                f'{first.made[-1].step.place} gives None for all '
                f'{len(images)} images that were tried: "Cannot find valid '
                'image after 1000!" in a training, "Test time pipeline '
                'should not get `None`" in an evaluation',
                split.name,
            )


def _is_sure(case: Case, split: Split, run: PipelineRun) -> bool:
    """Tell whether the pipeline is at fault, and not an annotation.

    What is wrong with single annotations of instances is told by their own
    checks.
    """
    if case.semantic:
        return True
    runs = [each for each in split.runs if each.key == run.key]
    images = {each.image for each in runs}
    failed = {each.image for each in runs if each.fault is not None}
    return len(failed) == len(images)


@check(ORDER)
def pipelines_are_in_order(case: Case) -> Iterator[Finding]:
    """Yield pipelines whose order spoils images or labels, though they run."""
    for split in case.splits.values():
        told = {run.key for run in split.runs if run.fault is not None}
        for run in split.runs:
            if run.key in told:
                continue
            told.add(run.key)
            for key, steps in _pipelines(run).items():
                yield from _out_of_place(case, split, key, steps)
        if case.semantic and split.name != 'train':
            yield from _resized_labels(case, split)


def _out_of_place(
    case: Case, split: Split, key: str, steps: Sequence[Step]
) -> Iterator[Finding]:
    """Yield steps that come too early or too late to see what they change."""
    kinds = [step.kind for step in steps]
    moving = [kind in ('move', 'pad') for kind in kinds]
    evaluated = split.name != 'train'
    image = kinds.index('image') if 'image' in kinds else 0
    label = kinds.index('label') if 'label' in kinds else 0
    change = _reordered(case, key, right_order(kinds, evaluated))
    if any(moving[:image]):
        early = [s.name for s in steps[:image] if s.kind in ('move', 'pad')]
        yield ORDER.found(
            f'{listing(early)} before {steps[image].name}: there is no image '
            'yet, and nothing is done',
            split.name,
            change=change,
        )
    elif any(moving[:label]) and not evaluated:
        early = [s.name for s in steps[:label] if s.kind in ('move', 'pad')]
        yield ORDER.found(
            f'{listing(early)} before {steps[label].name}: the image is '
            'moved, and its label is not',
            split.name,
            change=change,
        )
    elif 'pack' in kinds and kinds[-1] != 'pack':
        pack = kinds.index('pack')
        late = [step.name for step in steps[pack + 1 :]]
        yield ORDER.found(
            f'{listing(late)} after {steps[pack].name}: what is packed stays '
            'as it is',
            split.name,
            change=change,
            level=Level.WARNING,
        )


def _resized_labels(case: Case, split: Split) -> Iterator[Finding]:
    """Yield pipelines of an evaluation that change the size of labels."""
    told = set()
    for run in split.runs:
        if None in (run.label_size, run.original) or run.key in told:
            continue
        if run.label_size == run.original:
            continue
        told.add(run.key)
        text = (
            f'labels are {_by(run.label_size)} after the pipeline, and '
            f'predictions are compared at {_by(run.original)}, the size of '
            'the image'
        )
        change: Mapping[str, Any] = {}
        pipelines = _pipelines(run)
        if len(pipelines) == 1:
            [(key, steps)] = pipelines.items()
            kinds = [step.kind for step in steps]
            change = _reordered(case, key, right_order(kinds, evaluated=True))
        yield ORDER.found(text, split.name, run.image, change=change)


@check(INCOMPLETE)
def pipelines_are_whole(case: Case) -> Iterator[Finding]:
    """Yield pipelines without a step that loads labels, or that packs."""
    for split in case.splits.values():
        told = set()
        for run in split.runs:
            if run.fault or run.dropped or run.key in told:
                continue
            told.add(run.key)
            for name in _lacking(case, split, run):
                key = f'{run.key}.pipeline'
                yield INCOMPLETE.found(
                    f'{key} has no {name}',
                    split.name,
                    change=_added(case, key, name),
                )


def _lacking(case: Case, split: Split, run: PipelineRun) -> Iterator[str]:
    """Yield the steps that the pipelines of a run lack."""
    kinds = {step.kind for step in run.plan}
    if not run.packed:
        yield 'PackSegInputs' if case.semantic else 'PackDetInputs'
    if 'label' in kinds:
        return
    if case.semantic:
        labeled = any(
            sample.label is not None
            for part in split.parts
            for sample in part.samples
        )
        if run.label is None and labeled and _needs_labels(case, split.name):
            yield 'LoadAnnotations'
    elif split.name == 'train' and run.boxes_before is None:
        yield 'LoadAnnotations'


def _needs_labels(case: Case, split: str) -> bool:
    """Tell whether labels of a split are made use of."""
    evaluators = case.cfg.get(f'{split}_evaluator') or {}
    if isinstance(evaluators, Mapping):
        evaluators = [evaluators]
    return split == 'train' or any(
        not evaluator.get('format_only') for evaluator in evaluators
    )


@check(RANDOM)
def evaluation_is_not_random(case: Case) -> Iterator[Finding]:
    """Yield pipelines of val and test that give other images each time."""
    for split in case.splits.values():
        if split.name == 'train':
            continue
        found: dict[tuple[str, int], tuple[Step, str]] = {}
        for first, other in _repeated(split.runs):
            for step in _differing(first, other):
                found.setdefault((step.key, step.number), (step, first.image))
        for (key, index), (step, image) in found.items():
            yield RANDOM.found(
                f'{step.place} is random',
                split.name,
                image,
                change=_without(case, key, index),
            )


def _repeated(
    runs: Sequence[PipelineRun],
) -> Iterator[tuple[PipelineRun, PipelineRun]]:
    """Yield the first run of each image, with each of the others."""
    first: dict[tuple[str, str], PipelineRun] = {}
    for run in runs:
        if run.fault is None and not run.mixed:
            known = first.setdefault((run.key, run.image), run)
            if known is not run:
                yield known, run


def _differing(first: PipelineRun, other: PipelineRun) -> Iterator[Step]:
    """Yield the first step that made another image."""
    for one, two in zip(first.made, other.made, strict=False):
        if one.digest != two.digest:
            yield one.step
            return


@check(LABEL, FILLED)
def labels_stay_classes(case: Case) -> Iterator[Finding]:
    """Yield pipelines that make labels of what no file holds."""
    if not case.semantic:
        return
    ignored = _ignored(case)
    for split in case.splits.values():
        told = set()
        for run in split.runs:
            part = _part_of(split, run)
            if part is None or not part.classes or run.key in told:
                continue
            known = ignored | {part.ignore_index}
            new = set(run.label or ()) - set(run.loaded or ()) - known
            if run.loaded is None:
                continue
            classes = range(len(part.classes))
            filled = sorted({*run.filled} & {*classes} - known)
            if filled and not new - {*classes}:
                told.add(run.key)
                yield _filled(case, split, part, run, filled[0])
                continue
            code = LABEL if new - set(classes) else FILLED
            # Others may make classes of classes.
            if not new or (
                code is FILLED and (run.mixed or not _all_known(run))
            ):
                continue
            told.add(run.key)
            values = sorted(new - set(classes)) or sorted(new)
            yield code.found(
                f'labels have {listing(values)} after the pipeline '
                f'({_fillers(run)}), and not as they are loaded; there are '
                f'{len(classes)} classes, and {listing(sorted(ignored))} is '
                'ignored',
                split.name,
                run.image,
                value=values,
            )


def _filled(
    case: Case, split: Split, part: Part, run: PipelineRun, value: int
) -> Finding:
    """Return that a step fills label maps with a class."""
    step = run.filled[value]
    change: dict[str, Any] = {}
    if pipeline := pipeline_at(case.cfg, step.key):
        options = pipeline[step.number]
        if isinstance(options.get('pad_val'), dict):
            options['pad_val'] |= {'seg': part.ignore_index}
        else:
            options['seg_pad_val'] = part.ignore_index
        change[step.key] = pipeline
    return FILLED.found(
        f'{step.place} fills labels with {value}, which is the class '
        f'{part.classes[value]}',
        split.name,
        run.image,
        value=[value],
        change=change,
    )


def _fillers(run: PipelineRun) -> str:
    """Return the steps that may have made new labels, in words."""
    kinds = ('move', 'pad', 'other')
    return listing([step.name for step in run.plan if step.kind in kinds])


@check(PADDED)
def crops_are_filled(case: Case) -> Iterator[Finding]:
    """Yield a training whose crops are larger than its images."""
    train = case.splits.get('train')
    if train is None or not case.semantic:
        return
    size = _fixed_size(preprocessor_of(case.cfg)[1])
    shares = []
    for run in train.runs:
        if run.size and run.fault is None:
            whole = size or run.size
            area = max(whole[0], run.size[0]) * max(whole[1], run.size[1])
            image = run.size[0] * run.size[1] * (1 - run.padding)
            shares.append(1 - image / area)
    if len(shares) < CROPS or np.mean(shares) <= PADDING:
        return
    if np.mean(np.array(shares) > 0) < NEARLY_ALL:
        return
    pads = [
        made
        for run in train.runs
        for made in run.made
        if made.step.kind == 'pad' and made.before != made.size
    ]
    sizes = [run.size for run in train.runs if run.size]
    typical = _typical([p.before for p in pads if p.before] or sizes)
    yield PADDED.found(
        f'{np.mean(shares):.0%} of the pixels of a batch are padding: '
        f'images of {_by(typical)} are filled to '
        f'{_by(size or _typical(sizes))}',
        'train',
        value=round(float(np.mean(shares)), 4),
        mend=f'make size of {pads[0].step.place} smaller, or resize images to '
        'more'
        if pads
        else None,
        change=_smaller_crops(case, train, typical),
    )


def _typical(sizes: Sequence[tuple[int, int]]) -> list[int]:
    """Return the width and the height in the middle of some."""
    return [int(np.median([size[axis] for size in sizes])) for axis in (0, 1)]


def _smaller_crops(
    case: Case, train: Split, typical: Sequence[int]
) -> dict[str, Any]:
    """Return crops that fit images, as a change of the config."""
    if any(step.kind == 'pad' for run in train.runs for step in run.plan):
        return {}
    fit = [max(STRIDE, side // STRIDE * STRIDE) for side in typical]
    change: dict[str, Any] = {}
    height, width = fit[1], fit[0]
    for part in train.parts:
        key = f'{part.key}.pipeline'
        pipeline = pipeline_at(case.cfg, key)
        for step in pipeline or ():
            if 'crop_size' in step:
                old = step['crop_size']
                old = (old, old) if isinstance(old, int) else old
                step['crop_size'] = (min(height, old[0]), min(width, old[1]))
                change[key] = pipeline
                change['model.data_preprocessor.size'] = step['crop_size']
    return change


@check(BATCH)
def batches_can_be_stacked(case: Case) -> Iterator[Finding]:
    """Yield splits whose images cannot be made a batch by MMSeg."""
    key, model = preprocessor_of(case.cfg)
    if model.get('type') != 'SegDataPreProcessor':
        return
    size, divisor = model.get('size'), model.get('size_divisor')
    if 'train' in case.splits and (size is None) == (divisor is None):
        yield BATCH.found(
            f'{key}: size={size} and size_divisor='
            f'{divisor}, of which one has to be given: "only one of size and '
            'size_divisor should be valid"',
            'train',
            change={f'{key}.size_divisor': STRIDE if size is None else None},
        )
        return
    for split in case.splits.values():
        yield from _unequal_sizes(split, _fixed_size(model), model)


def _unequal_sizes(
    split: Split, fixed: tuple[int, int] | None, model: Mapping[str, Any]
) -> Iterator[Finding]:
    """Yield a split with images of several sizes in a batch."""
    if split.loader.get('batch_size', 1) < 2:
        return
    train = split.name == 'train'
    padded = fixed is None if train else model.get('test_cfg')
    sizes = {run.size for run in split.runs if run.size and run.fault is None}
    if train and fixed:
        sizes = {
            (max(size[0], fixed[0]), max(size[1], fixed[1])) for size in sizes
        }
    if padded or len(sizes) < 2:
        return
    if train:
        change: dict[str, Any] = {
            'model.data_preprocessor.size': None,
            'model.data_preprocessor.size_divisor': STRIDE,
        }
    else:
        change = {f'{split.key}.batch_size': 1}
    yield BATCH.found(
        f'images come out of the pipeline as {listing(_several(sizes))}, in '
        f'batches of {split.loader.batch_size}',
        split.name,
        value=sorted(sizes),
        change=change,
    )


@check(MIXED)
def crops_can_be_mixed(case: Case) -> Iterator[Finding]:
    """Yield crops that no part of an image can be, for ``cat_max_ratio``."""
    train = case.splits.get('train')
    if train is None or not case.semantic:
        return
    for judged in judge_labels(case):
        part = judged.part
        for index, step in enumerate(_transforms(part)):
            ratio = getattr(step, 'cat_max_ratio', 1.0)
            if ratio < 1 and part.split == 'train' and not judged.whole:
                yield from _unmixed(case, train, judged, index, step, ratio)


def _unmixed(
    case: Case,
    split: Split,
    judged: JudgedPart,
    index: int,
    step: Any,
    ratio: float,
) -> Iterator[Finding]:
    """Yield images of which no crop meets a ratio, if they are many."""
    part = judged.part
    scale = _largest_scale(split, part, index)
    meets = _meets(step, ratio, scale)
    labels = [
        (sample.place.image, sample.label)
        for sample, wrong in judged.rows
        if not wrong and sample.label and _shows_classes(sample.label, step)
    ]
    without = [image for image, label in labels if not meets(label)]
    share = len(without) / len(labels) if labels else 0.0
    if share < SOME:
        return
    key = f'{part.key}.pipeline'
    pipeline = pipeline_at(case.cfg, key) or [{}] * (index + 1)
    pipeline[index]['cat_max_ratio'] = 1.0
    yield MIXED.found(
        f'of {len(without)} of {len(labels)} image(s) no crop can have less '
        f'than {ratio:.0%} of one class, as cat_max_ratio={ratio} wants',
        split.name,
        without[0],
        value=round(share, 4),
        others=without[1:5],
        change={key: pipeline},
        level=Level.WARNING if share >= MOST else Level.NOTE,
    )


def _shows_classes(label: LabelScan, step: Any) -> bool:
    """Tell whether not most pixels of a label are ignored."""
    counts = label.loaded or {}
    void = counts.get(getattr(step, 'ignore_index', IGNORE_INDEX), 0)
    return bool(label.size) and 2 * void < sum(counts.values())


def _largest_scale(split: Split, part: Part, index: int) -> float | None:
    """Return how much larger images can be before a step, as area."""
    scales = [
        made.before[0] * made.before[1] / (run.original[0] * run.original[1])
        for run in split.runs
        for made in run.made
        if run.original
        and made.before
        and (made.step.key, made.step.number)
        == (f'{part.key}.pipeline', index)
    ]
    if not scales:
        return None
    spread = 1.0
    for step in _transforms(part)[:index]:
        ratios = getattr(step, 'ratio_range', None)
        if ratios:
            spread *= (max(ratios) / min(ratios)) ** 2
    return float(max(scales) * spread)


def _meets(
    step: Any, ratio: float, scale: float | None
) -> Callable[[LabelScan], bool]:
    """Return what tells whether a crop of a label can be mixed enough."""
    ignored = getattr(step, 'ignore_index', IGNORE_INDEX)
    height, width = step.crop_size

    def meets(label: LabelScan) -> bool:
        counts = {k: n for k, n in (label.loaded or {}).items() if n}
        void = counts.pop(ignored, 0)
        # As upstream: more than one class, the largest below the ratio.
        if len(counts) < 2 or ratio <= 1 / len(counts):
            return False
        if scale is None:
            return True
        most = max(counts.values())
        others = (sum(counts.values()) - most) * scale
        sides = [side * scale**0.5 for side in label.size or (0, 0)]
        crop = min(width, sides[0]) * min(height, sides[1])
        # A crop with all others in it, and with all that is ignored.
        valid = crop - void * scale
        return bool(valid <= 0 or others / valid + RESIZED > 1 - ratio)

    return meets


def _part_of(split: Split, run: PipelineRun) -> Part | None:
    """Return the data set of a run; the first within a wrapper."""
    for part in split.parts:
        if part.key == run.key:
            return part
    return split.parts[0] if split.parts else None


def _pipelines(run: PipelineRun) -> dict[str, list[Step]]:
    """Return the steps of a run by pipeline."""
    pipelines: dict[str, list[Step]] = {}
    for step in run.plan:
        pipelines.setdefault(step.key, []).append(step)
    return pipelines


def _all_known(run: PipelineRun) -> bool:
    """Tell whether no step is a user's own."""
    known = ('mmcv', 'mmdet', 'mmseg', 'mmseg_ext')
    return all(step.package in known for step in run.plan)


def _transforms(part: Part) -> Sequence[Any]:
    """Return the steps of a data set's pipeline."""
    pipeline = getattr(part.dataset, 'pipeline', None)
    return getattr(pipeline, 'transforms', None) or ()


def _fixed_size(model: Mapping[str, Any]) -> tuple[int, int] | None:
    """Return the width and height that MMSeg fills images of a training to."""
    size = model.get('size')
    if not isinstance(size, list | tuple) or len(size) < 2:
        return None
    return int(size[-1]), int(size[-2])


def _ignored(case: Case) -> set[int]:
    """Return the labels that the losses of a model leave out."""
    model = case.cfg.get('model') or {}
    found: set[int] = set()
    for name in ('decode_head', 'auxiliary_head'):
        heads = model.get(name) or []
        for head in [heads] if isinstance(heads, Mapping) else heads:
            found.add(head.get('ignore_index', IGNORE_INDEX))
    return {each for each in found if isinstance(each, int)} or {IGNORE_INDEX}


def _reordered(
    case: Case, key: str, order: Sequence[int]
) -> dict[str, list[dict[str, Any]]]:
    """Return a pipeline in another order, as a change of the config."""
    pipeline = pipeline_at(case.cfg, key)
    if pipeline is None or len(pipeline) != len(order):
        return {}
    if list(order) == sorted(order):
        return {}
    return {key: [pipeline[place] for place in order]}


def _without(
    case: Case, key: str, index: int
) -> dict[str, list[dict[str, Any]]]:
    """Return a pipeline without a random step, as a change of the config.

    A resize by chance becomes one to the size that it varies.
    """
    pipeline = pipeline_at(case.cfg, key)
    if pipeline is None:
        return {}
    step = pipeline.pop(index)
    if step.get('type') == 'RandomResize':
        options: dict[str, Any] = {
            k: step[k] for k in ('scale', 'keep_ratio') if k in step
        }
        if all(isinstance(side, int) for side in options.get('scale', [''])):
            pipeline.insert(index, {'type': 'Resize', **options})
    return {key: pipeline}


def _added(case: Case, key: str, name: str) -> dict[str, list[dict[str, Any]]]:
    """Return a pipeline with another step, as a change of the config."""
    pipeline = pipeline_at(case.cfg, key)
    if not pipeline:
        return {}
    step: dict[str, Any] = {'type': name}
    if name == 'LoadAnnotations':
        semantic = case.semantic
        step |= {} if semantic else {'with_bbox': True, 'with_mask': True}
        place = 1 if key.startswith('train') else len(pipeline) - 1
        return {key: [*pipeline[:place], step, *pipeline[place:]]}
    return {key: [*pipeline, step]}


def _names(change: Mapping[str, Any]) -> str:
    """Return the steps of a changed pipeline, in words."""
    return ', '.join(
        str(step.get('type')) for steps in change.values() for step in steps
    )


def _by(size: Sequence[int] | None) -> str:
    """Return a size in words."""
    return 'x'.join(map(str, size or ()))


def _several(sizes: Collection[tuple[int, ...]]) -> list[str]:
    """Return sizes in words."""
    return [_by(size) for size in sorted(sizes)]
