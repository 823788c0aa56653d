"""Normalization: its numbers, and the order of channels."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from mmseg_ext.doctor.case import Case, Split
from mmseg_ext.doctor.config_entries import pipeline_at, preprocessor_of
from mmseg_ext.doctor.findings import Code, Finding, Level, check
from mmseg_ext.doctor.pipeline_runs import PipelineRun, Step

__all__ = ['channels_have_their_order', 'images_are_normalized']

#: Mean and deviation of ImageNet, red, green, blue. Source: torchvision.
MEAN = (123.675, 116.28, 103.53)
DEVIATION = (58.395, 57.12, 57.375)

#: How far published means of photographs, of ImageNet, CLIP and Detectron's
#: Caffe models, are from :data:`MEAN` at most.
SAME = 2.0

#: How many deviations the mean of a data set may be from 0, after
#: normalization. From black to white no image is beyond 2.7 by ImageNet's
#: numbers; CamVid, the nails and the sample scenes are within 1.
FAR = 3.0

#: What the deviation may be after normalization. From images of one gray to
#: black and white it is 0 to 2.2 by ImageNet's numbers.
WIDE = 4.0

#: An input of larger deviation than this was not normalized at all, where
#: the configured numbers are between 0 and 1.
RAW = 10.0

#: A deviation that has shrunk to this share was scaled by the pipeline.
SCALED = 0.1

#: Levels of 255 by which red and blue have to differ, over a data set, to
#: tell them apart by their means.
APART = 10.0

#: How much nearer the mean of a data set has to be to the configured one
#: with its channels turned around.
NEARER = 0.25

NORMALIZATION = Code(
    'normalization',
    Level.WARNING,
    'slow training or loss NaN, and pretrained weights are of little use',
    'set mean and std of data_preprocessor to those of the pretrained '
    'weights, for values of 0 to 255',
)
SWAPPED = Code(
    'channels-swapped',
    Level.WARNING,
    'red and blue change places before pretrained weights: lower scores, '
    'with nothing to see in the losses',
    'give mean and std in the order in which the model gets the channels: '
    'red first with bgr_to_rgb=True, blue first without',
)


class _Colors(NamedTuple):
    """Measured by channel, 0 to 255.

    Attributes:
        mean: Means.
        deviation: Standard deviations within an image.
    """

    mean: np.ndarray
    deviation: np.ndarray

    @property
    def turned(self) -> '_Colors':
        """The colors with red for blue."""
        return _Colors(self.mean[::-1], self.deviation[::-1])


@check(NORMALIZATION)
def images_are_normalized(case: Case) -> Iterator[Finding]:
    """Yield numbers that do not fit the values of the images."""
    key, model = preprocessor_of(case.cfg)
    split = _measured_split(case)
    if not model or split is None:
        return
    colors, scaled = _arriving(split, model), _is_scaled(split)
    mean, deviation = _numbers(model, 'mean'), _numbers(model, 'std')
    if mean is None or deviation is None:
        absent = model.get('mean') is None and model.get('std') is None
        if absent and not scaled and _wants_numbers(case):
            yield _far(key, split, colors, 'there is no mean and no std')
        return
    # Other numbers of channels the model itself will tell.
    if {len(mean), len(deviation)} - {1, len(colors.mean)}:
        return
    center = np.abs(colors.mean - mean) / deviation
    width = colors.deviation / deviation
    numbers = f'mean={_listed(mean)} and std={_listed(deviation)}'
    small = np.abs(mean).max() <= 1 and deviation.max() <= 1
    if scaled:
        if width.max() < SCALED:
            yield _twice(case, key, split, numbers, colors)
    elif small and width.max() > RAW:
        text = f'{numbers} are for values from 0 to 1'
        yield _far(key, split, colors, text)
    # Caffe's models have a deviation of 1, and large values.
    elif deviation.min() > 1 and (center.max() > FAR or width.max() > WIDE):
        yield _far(key, split, colors, numbers)


@check(SWAPPED)
def channels_have_their_order(case: Case) -> Iterator[Finding]:
    """Yield means in another order than the channels have there."""
    key, model = preprocessor_of(case.cfg)
    split = _measured_split(case)
    if split is None:
        return
    measured = _measured(split)
    mean = _numbers(model, 'mean')
    packed = _packed_order(split)
    if mean is not None and len(mean) == 3 and packed is not None:
        turned = bool(model.get('bgr_to_rgb') or model.get('rgb_to_bgr'))
        order = packed[::-1] if turned else packed
        if _is_swapped(mean, order, measured):
            yield SWAPPED.found(
                f'mean={_listed(mean)} is in the order {order[::-1]}, and '
                f'the channels are {order} there '
                f'(bgr_to_rgb={bool(model.get("bgr_to_rgb"))})',
                split.name,
                value=mean.tolist(),
                change=_turned(key, model),
            )
    for step, transform in _normalize_steps(split):
        order = 'RGB' if transform.to_rgb else 'BGR'
        mean = np.asarray(transform.mean, float)
        if len(mean) == 3 and _is_swapped(mean, order, measured):
            yield SWAPPED.found(
                f'{step.place}: mean={_listed(mean)} is in the order '
                f'{order[::-1]}, and the channels are {order} there '
                f'(to_rgb={transform.to_rgb})',
                split.name,
                value=mean.tolist(),
            )
    yield from _swapped_splits(case)


def _swapped_splits(case: Case) -> Iterator[Finding]:
    """Yield a split whose images have red for blue, beside the training's."""
    train = case.splits.get('train')
    colors = None if train is None else _measured(train)
    if colors is None:
        return
    for split in case.splits.values():
        other = None if split is train else _measured(split)
        if other is None or not _is_turned(colors.mean, other.mean):
            continue
        yield SWAPPED.found(
            f'images have the mean {_listed(other.mean)} (red, green, blue), '
            f'and those of the training {_listed(colors.mean)}: red and blue '
            'were swapped when one of them was written',
            split.name,
            value=other.mean.tolist(),
            mend='write the images of one of the two again',
        )


def _is_turned(mean: np.ndarray, other: np.ndarray) -> bool:
    """Tell whether a mean fits another with its channels turned around."""
    if min(abs(each[0] - each[2]) for each in (mean, other)) < APART:
        return False
    right = np.abs(mean - other).max()
    return bool(np.abs(mean[::-1] - other).max() < NEARER * right)


def _is_swapped(
    mean: np.ndarray, order: str, measured: _Colors | None
) -> bool:
    """Tell whether a configured mean is in another order than the channels."""
    red_first = order == 'RGB'
    known = np.array(MEAN if red_first else MEAN[::-1])
    if np.abs(mean - known).max() < SAME:
        return False
    if np.abs(mean - known[::-1]).max() < SAME:
        return True
    if measured is None:
        return False
    there = measured.mean if red_first else measured.mean[::-1]
    return _is_turned(mean, there)


def _turned(key: str, model: Mapping[str, Any]) -> dict[str, Any]:
    """Return mean and deviation in the other order, as a change."""
    return {
        f'{key}.{name}': list(model[name])[::-1] for name in ('mean', 'std')
    }


def _measured_split(case: Case) -> Split | None:
    """Return the split that normalization is judged by.

    That of the training, whose numbers were to be chosen, or the first with
    images.
    """
    for split in case.splits.values():
        if any(run.mean for run in split.runs) and _measured(split):
            return split
    return None


def _measured(split: Split) -> _Colors | None:
    """Return the colors of the images of a split: red, green, blue."""
    images = [
        sample.image
        for part in split.parts
        for sample in part.samples
        if sample.image.size and not sample.image.fault
    ]
    if not images:
        return None
    return _Colors(
        np.mean([image.mean for image in images], axis=0),
        np.mean([image.deviation for image in images], axis=0),
    )


def _arriving(split: Split, model: Mapping[str, Any]) -> _Colors:
    """Return the colors that a model's mean is subtracted from."""
    runs = _runs_with_colors(split)
    colors = _Colors(
        np.mean([run.mean for run in runs], axis=0),
        np.mean([run.deviation for run in runs], axis=0),
    )
    measured, order = _measured(split), _packed_order(split)
    if measured and order and not _is_scaled(split):
        # Of all images, and not of a few crops.
        colors = measured if order == 'RGB' else measured.turned
    turned = model.get('bgr_to_rgb') or model.get('rgb_to_bgr')
    return colors.turned if turned and len(colors.mean) == 3 else colors


def _runs_with_colors(split: Split) -> list[PipelineRun]:
    """Return the runs that packed as many channels as the first did."""
    runs = [run for run in split.runs if run.mean]
    return [run for run in runs if len(run.mean) == len(runs[0].mean)]


def _is_scaled(split: Split) -> bool:
    """Tell whether a pipeline has scaled the values of images."""
    measured = _measured(split)
    if measured is None or measured.deviation.max() < 1:
        return any(True for _ in _normalize_steps(split))
    packed = np.mean([r.deviation for r in _runs_with_colors(split)], axis=0)
    return bool(packed.max() < SCALED * measured.deviation.max())


def _wants_numbers(case: Case) -> bool:
    """Tell whether a model is sure to need values around 0.

    Some of MMDet, such as YOLOX, take values of 0 to 255.
    """
    backbone = (case.cfg.get('model') or {}).get('backbone') or {}
    weights = backbone.get('init_cfg') or {}
    source = weights.get('checkpoint') if isinstance(weights, dict) else None
    return case.semantic or str(source).startswith('torchvision://')


def _numbers(model: Mapping[str, Any], name: str) -> np.ndarray | None:
    """Return numbers by channel of a config."""
    value = model.get(name)
    if not isinstance(value, list | tuple) or not value:
        return None
    if not all(isinstance(each, int | float) for each in value):
        return None
    return np.array(value, float)


def _normalize_steps(split: Split) -> Iterator[tuple[Step, Any]]:
    """Yield the steps of pipelines that normalize, with their transforms."""
    plan = {step: None for run in split.runs for step in run.plan}
    datasets = {f'{part.key}.pipeline': part.dataset for part in split.parts}
    for step in plan:
        pipeline = getattr(datasets.get(step.key), 'pipeline', None)
        transforms = getattr(pipeline, 'transforms', ())
        if step.name == 'Normalize' and step.number < len(transforms):
            yield step, transforms[step.number]


def _packed_order(split: Split) -> str | None:
    """Return ``'RGB'`` or ``'BGR'``, as pipelines pack; None if unknown."""
    runs = [run for run in _runs_with_colors(split) if len(run.mean) == 3]
    if not runs or any(step.name == 'Normalize' for step in runs[0].plan):
        return None
    colors = {
        sample.place.image: sample.image.mean
        for part in split.parts
        for sample in part.samples
    }
    pairs = [
        (run.mean[0] - run.mean[2], red - blue)
        for run in runs
        if run.image in colors and not run.mixed
        for red, _, blue in [colors[run.image]]
    ]
    if pairs:
        packed, there = np.array(pairs).T
        # Seen where red and blue differ; augmentations change colors a bit.
        if np.mean(there**2) > APART**2:
            like = np.sum(packed * there) / np.sum(there**2)
            if abs(like) > 0.5:
                return 'RGB' if like > 0 else 'BGR'
    packages = {step.package for step in runs[0].plan}
    known = packages <= {'mmcv', 'mmdet', 'mmseg', 'mmseg_ext'}
    return 'BGR' if known else None


def _far(key: str, split: Split, colors: _Colors, text: str) -> Finding:
    """Return that numbers do not fit images."""
    change = {
        f'{key}.mean': colors.mean.round(3).tolist(),
        f'{key}.std': colors.deviation.round(3).tolist(),
    }
    order = _packed_order(split)
    center = np.abs(colors.mean - np.mean(MEAN)) / np.mean(DEVIATION)
    # Those of pretrained weights, where images are like photographs.
    if order and center.max() < FAR and len(colors.mean) == 3:
        change = {
            f'{key}.mean': list(MEAN),
            f'{key}.std': list(DEVIATION),
            f'{key}.bgr_to_rgb': order == 'BGR',
        }
    return NORMALIZATION.found(
        f'{text}, and images have mean {_listed(colors.mean)} and deviation '
        f'{_listed(colors.deviation)} there',
        split.name,
        value=[
            colors.mean.round(2).tolist(),
            colors.deviation.round(2).tolist(),
        ],
        change=change,
    )


def _twice(
    case: Case, key: str, split: Split, numbers: str, colors: _Colors
) -> Finding:
    """Return that images are normalized in the pipeline and behind it."""
    change = {}
    for part in case.parts:
        place = f'{part.key}.pipeline'
        pipeline = pipeline_at(case.cfg, place) or []
        kept = [step for step in pipeline if step.get('type') != 'Normalize']
        if len(kept) < len(pipeline):
            change[place] = kept
    return NORMALIZATION.found(
        f'the pipeline has scaled images (mean {_listed(colors.mean)}, '
        f'deviation {_listed(colors.deviation)}), and {key} has {numbers} '
        'for values from 0 to 255',
        split.name,
        value=colors.mean.round(3).tolist(),
        mend='normalize in data_preprocessor alone',
        change=change,
    )


def _listed(values: Sequence[float] | np.ndarray) -> str:
    """Return numbers in words."""
    return '[' + ', '.join(f'{value:.4g}' for value in values) + ']'
