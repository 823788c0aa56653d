"""The pipelines of a config for images and crops of other sizes."""

from collections.abc import Mapping, Sequence
from typing import Any

from mmengine.config import Config

from mmseg_ext.doctor.child_configs import Code
from mmseg_ext.launch.configs import data_sets
from mmseg_ext.launch.errors import entries, type_name
from mmseg_ext.utils.text import listing

__all__ = [
    'Step',
    'fit_test_pipeline',
    'fit_train_pipeline',
    'fit_tta_pipeline',
    'loads_masks',
]

#: A transform of a config, as plain dicts.
Step = dict[str, Any]

#: Transforms that load label maps of one channel.
_LOADERS = ('FastLoadAnnotations', 'LoadAnnotations', 'LoadColorMasks')

#: Transforms that load images as most data sets have them.
_IMAGES = ('LoadImageFromFile',)

_RESIZES = (
    *('RandomChoiceResize', 'RandomResize', 'Resize', 'ResizeShortestEdge'),
    'FixScaleResize',
)

_CROPS = (
    *('FastRandomCrop', 'MinIoURandomCrop', 'RandomCenterCropPad'),
    *('RandomCrop', 'RareClassCrop'),
)

#: All in one: what it resizes by, it gets.
_FUSED = 'FusedResizeCropFlip'
_FUSED_SIZES = ('ratio_range', 'scale', 'scales', 'scale_factors')

#: Transforms that mix images, or whose sizes go with those that do.
_MIXES = (
    *('CachedMixUp', 'CachedMosaic', 'CopyPaste', 'MixUp', 'Mosaic'),
    *('RandomAffine', 'RandomDepthMix', 'RandomMosaic', 'SemanticCopyPaste'),
    'YOLOXMixUp',
)

#: Hooks that take another pipeline for the last epochs.
_SWITCH = 'PipelineSwitchHook'

#: How much smaller and larger training images may be by default, as in MMSeg.
_RATIOS = (0.5, 2.0)

#: The same in steps, for factors of each image's own size.
_STEPS = (0.5, 0.75, 1.0, 1.5, 2.0)

#: What resizes images for a test.
_INTO_SCALE: Step = {
    'type': 'Resize',
    'scale': Code('scale'),
    'keep_ratio': True,
}
_BY_FACTOR: Step = {
    'type': 'Resize',
    'scale_factor': Code('scale_factor'),
    'keep_ratio': True,
}

#: Where no pipeline can be inherited.
_DEFAULTS: Mapping[str, Sequence[Step]] = {
    'semantic': (
        {'type': 'LoadImageFromFile'},
        {'type': 'LoadAnnotations'},
        {'type': 'RandomFlip', 'prob': 0.5},
        {'type': 'PhotoMetricDistortion'},
        {'type': 'PackSegInputs'},
    ),
    'instance': (
        {'type': 'LoadImageFromFile'},
        {'type': 'LoadAnnotations', 'with_bbox': True, 'with_mask': True},
        {'type': 'YOLOXHSVRandomAug'},
        {'type': 'RandomFlip', 'prob': 0.5},
        {'type': 'PackDetInputs'},
    ),
}


def loads_masks(cfg: Config) -> bool:
    """Return whether a config of MMDet trains with masks of instances."""
    return any(
        isinstance(node, dict) and node.get('with_mask') is True
        for node in (
            inner for _, inner in entries(cfg.get('train_dataloader'))
        )
    )


def fit_train_pipeline(
    cfg: Config, task: str, loader: str, by_factor: bool = False
) -> list[Step]:
    """Return the training pipeline of a config, for other images.

    Images are resized to a random size around ``scale``, and cropped to
    ``crop_size``; what else it does with them stays, but for what mixes
    images.

    Args:
        cfg: The config.
        task: ``'semantic'`` or ``'instance'``.
        loader: Type of the step that loads label maps.
        by_factor: Whether sizes are around ``scale_factor`` times each
            image's own instead.

    Raises:
        ValueError: It loads something else than images and labels.
    """
    found = _train_steps(cfg, task)
    ratios = _ratios(found)
    steps: list[Step] = []
    for place, step in enumerate(found):
        kind = type_name(step)
        if kind == _FUSED:
            steps.append(_fused(step, by_factor))
        elif kind in _MIXES or _resizes(step) or kind in _CROPS:
            continue
        elif kind == 'Pad' and step.get('size'):
            # A width, then a height.
            steps.append({**step, 'size': Code('crop_size[::-1]')})
        else:
            key = f'train_dataloader.dataset.pipeline.{place}'
            steps.append(_loading(step, task, loader, key))
    resize = _random_resize(ratios, by_factor)
    return _with_crops(steps, found, task, resize)


def _train_steps(cfg: Config, task: str) -> list[Step]:
    """Return the steps of the training pipeline, as they are."""
    for hook in cfg.get('custom_hooks') or ():
        # Until then images are mixed.
        if type_name(hook) == _SWITCH and hook.get('switch_pipeline'):
            return _plain(hook['switch_pipeline'])
    loader = cfg['train_dataloader']
    # A pipeline around a data set mixes its images.
    if loader['dataset'].get('pipeline') and loader['dataset'].get('dataset'):
        return _plain(_DEFAULTS[task])
    pipeline = data_sets(loader['dataset'])[0].get('pipeline')
    return _plain(pipeline or _DEFAULTS[task])


def _plain(value: Any) -> Any:
    """Return a copy of a value without classes of mmengine."""
    if isinstance(value, Mapping):
        return {
            key: _plain(value[key])
            for key in value
            # As upstream says in each step that nothing is to be said, and
            # MMEngine by which name a config was inherited.
            if key != '_scope_'
            and (key != 'backend_args' or value[key] is not None)
        }
    if isinstance(value, list | tuple):
        inner = [_plain(each) for each in value]
        return tuple(inner) if type(value) is tuple else inner
    return value


def _resizes(step: Mapping[str, Any]) -> bool:
    """Return whether a step, or one of those in it, changes sizes."""
    kinds = [step, *(inner for _, inner in entries(step))]
    return any(
        isinstance(each, dict) and type_name(each) in _RESIZES
        for each in kinds
    )


def _ratios(steps: Sequence[Step]) -> tuple[float, float]:
    """Return how much smaller and larger a pipeline makes images at random."""
    for _, value in entries(steps):
        resizes = isinstance(value, dict) and type_name(value) in _RESIZES
        if resizes and 'ratio_range' in value:
            low, high = value['ratio_range']
            # Where objects are to be found in a tenth of the size.
            return max(low, _RATIOS[0]), min(high, _RATIOS[1])
    return _RATIOS


def _loading(step: Step, task: str, loader: str, key: str) -> Step:
    """Return a step of a pipeline, which loads what there is to load.

    Raises:
        ValueError: It loads something else.
    """
    kind = type_name(step)
    if task == 'semantic' and kind in _LOADERS:
        return _label_loader(step, loader)
    if kind.startswith('Load') and kind not in (*_IMAGES, *_LOADERS):
        raise ValueError(
            f'{key} is {kind}, which loads something else than images and '
            'their labels'
        )
    if step.get('with_seg'):
        raise ValueError(
            f'{key}.with_seg=True needs label maps beside the instances'
        )
    return dict(step)


def _label_loader(step: Step, loader: str) -> Step:
    """Return the step that loads label maps."""
    # Gives the same label maps in less time.
    fast = type_name(step) == 'FastLoadAnnotations'
    kind = (
        'FastLoadAnnotations'
        if fast and loader == 'LoadAnnotations'
        else loader
    )
    return {'type': kind}


def _with_crops(
    steps: list[Step],
    found: Sequence[Step],
    task: str,
    resize: Step,
) -> list[Step]:
    """Put a resize and a crop behind what loads the labels.

    Raises:
        ValueError: It loads no images, such as one of videos.
    """
    kinds = [type_name(step) for step in steps]
    if not {*kinds} & {*_IMAGES, _FUSED}:
        raise ValueError(
            'train_dataloader.dataset.pipeline has no '
            f'{listing(_IMAGES)}: expected one that loads an image from a '
            'file'
        )
    if _FUSED in kinds:
        return steps
    place = 1 + max(
        (
            at
            for at, kind in enumerate(kinds)
            if kind.startswith('Load') or kind in _LOADERS
        ),
        default=-1,
    )
    crop = next(
        (s for s in found if type_name(s) in _CROPS),
        {'type': 'RandomCrop', 'cat_max_ratio': 0.75},
    )
    new = [resize, _crop(crop, task)]
    if task == 'instance' and 'FilterAnnotations' not in kinds:
        new.append({'type': 'FilterAnnotations', 'min_gt_bbox_wh': (3, 3)})
    return [*steps[:place], *new, *steps[place:]]


def _random_resize(ratios: tuple[float, float], by_factor: bool) -> Step:
    """Return what makes images smaller and larger at random."""
    if not by_factor:
        return {
            'type': 'RandomResize',
            'scale': Code('scale'),
            'ratio_range': ratios,
            'keep_ratio': True,
        }
    low, high = ratios
    return {
        'type': 'RandomChoice',
        'transforms': [
            [{**_BY_FACTOR, 'scale_factor': Code(f'{step} * scale_factor')}]
            for step in _STEPS
            if low <= step <= high
        ],
    }


def _crop(step: Step, task: str) -> Step:
    """Return what crops, of that which did."""
    kind = type_name(step)
    name = 'cat_max_ratio' if task == 'semantic' else 'allow_negative_crop'
    return {
        'type': kind if kind == 'FastRandomCrop' else 'RandomCrop',
        # MMDet's has a width, then a height.
        'crop_size': Code(
            'crop_size' if task == 'semantic' else 'crop_size[::-1]'
        ),
        # Boxes are those of what the crop leaves of a mask.
        **({'recompute_bbox': True} if task == 'instance' else {}),
        **({name: step[name]} if name in step else {}),
    }


def _fused(step: Step, by_factor: bool) -> Step:
    """Return what resizes, crops and flips in one step."""
    kept = {k: v for k, v in step.items() if k not in _FUSED_SIZES}
    kept['crop_size'] = Code('crop_size')
    if by_factor:
        factors = [Code(f'{step} * scale_factor') for step in _STEPS]
        return {**kept, 'scale_factors': factors}
    return {
        **kept,
        'scale': Code('scale'),
        'ratio_range': tuple(step.get('ratio_range') or _RATIOS),
    }


def fit_test_pipeline(
    cfg: Config, task: str, loader: str, by_factor: bool = False
) -> list[Step]:
    """Return the pipeline of the validation of a config, for other images.

    Args:
        cfg: The config.
        task: ``'semantic'`` or ``'instance'``.
        loader: Type of the step that loads label maps.
        by_factor: See :func:`fit_train_pipeline`.

    Raises:
        ValueError: It loads something else than images and labels.
    """
    default = [
        {'type': 'LoadImageFromFile'},
        *_DEFAULTS[task][1:2],
        *_DEFAULTS[task][-1:],
    ]
    found = data_sets(cfg['val_dataloader']['dataset'])[0].get('pipeline')
    steps: list[Step] = []
    for place, step in enumerate(_plain(found or default)):
        kind = type_name(step)
        if _resizes(step):
            continue
        if kind == 'Pad' and step.get('size'):
            del step['size']
            # Features of several sizes are added.
            steps.append({**step, 'size_divisor': 32})
        else:
            key = f'val_dataloader.dataset.pipeline.{place}'
            steps.append(_loading(step, task, loader, key))
    fit = _BY_FACTOR if by_factor else _INTO_SCALE
    kinds = [type_name(step) for step in steps]
    # Before the labels, so that scores are those of the images' own size.
    place = 1 + next(
        (at for at, kind in enumerate(kinds) if kind in _IMAGES), -1
    )
    return [*steps[:place], fit, *steps[place:]]


def fit_tta_pipeline(
    cfg: Config, loader: str, by_factor: bool = False
) -> list[str]:
    """Return lines that fit the pipeline of test-time augmentation.

    Args:
        cfg: The config, of label maps.
        loader: Type of the step that loads label maps.
        by_factor: See :func:`fit_train_pipeline`.

    Returns:
        The lines; none where the config has no such pipeline.
    """
    steps = cfg.get('tta_pipeline')
    if not isinstance(steps, list):
        return []
    name, lines = 'tta_pipeline', []
    for key, step in entries(_plain(steps)):
        kind = isinstance(step, dict) and type_name(step)
        if kind not in _LOADERS:
            continue
        new = _label_loader(step, loader)
        if {**new} != {k: v for k, v in step.items() if v is not None}:
            place = ''.join(
                f'[{part}]' if part.isdigit() else f'.{part}'
                for part in key.split('.')
            )
            lines.append(f"{name}{place} = dict(type='{new['type']}')")
    by = 'scale_factor' if by_factor else 'scale'
    resize = f"1, dict(type='Resize', {by}={by}, keep_ratio=True)"
    insert = [f'{name}.insert({resize})']
    if by_factor:  # too long for a line
        insert = [f'{name}.insert(', f'    {resize}', ')']
    return [
        f'{name} = _base_.{name}',
        *lines,
        *insert,
    ]
