"""Forms of image files that loaders make something else of."""

from collections.abc import Callable, Iterator
from typing import Any

from mmcv.transforms import LoadImageFromFile

from mmseg_ext.doctor.case import Case
from mmseg_ext.doctor.findings import Code, Finding, Level, check
from mmseg_ext.doctor.label_families import change_step, distinct_parts
from mmseg_ext.doctor.parts import ImageScan, Part, Sample

__all__ = ['forms_are_usual', 'images_are_upright', 'is_turned_label']

GRAY = Code(
    'image-gray',
    Level.NOTE,
    'colors that the model has learned to rely on are missing there',
    'train and test with images of one kind',
)
WIDE = Code(
    'image-16-bit',
    Level.WARNING,
    'the loader keeps 8 bits: images of 10 or 12 bits get nearly black, or '
    'nearly white',
    'save images of 8 bits, stretched as the camera was set',
)
CMYK = Code(
    'image-cmyk',
    Level.WARNING,
    'colors that differ from those of all other images',
    'save the image as RGB',
)
ALPHA = Code(
    'image-alpha',
    Level.NOTE,
    'the loader drops it: what was transparent is seen, in any color',
    'save the image without alpha, on a background',
)
TURNED = Code(
    'image-turned',
    Level.WARNING,
    'labels that lie aside of their objects',
    'turn the pixels, and remove the orientation: mogrify -auto-orient FILE',
)

#: The settings of ``LoadImageFromFile`` by which mmcv turns images as EXIF
#: says. Source: mmcv.imread; tried with all of them.
_TURNING = (('cv2', None, 'pillow'), ('color', 'grayscale'))

#: EXIF orientations that swap width and height.
_ASIDE = range(5, 9)


def _mode(image: ImageScan) -> tuple[str, bool]:
    """Return Pillow's mode, and whether a channel has more than 8 bits."""
    mode, _, bits = image.form.rpartition(' ')[2].partition(';')
    return mode, mode == 'I' or bits.isdigit()


def _is_wide(image: ImageScan) -> bool:
    return _mode(image)[1]


def _has_alpha(image: ImageScan) -> bool:
    return _mode(image)[0] in ('LA', 'PA', 'RGBA')


#: Codes by what they are about.
_FORMS: tuple[tuple[Code, Callable[[ImageScan], bool]], ...] = (
    (WIDE, _is_wide),
    (CMYK, lambda image: image.form.endswith(' CMYK')),
    (ALPHA, _has_alpha),
)


@check(GRAY, WIDE, CMYK, ALPHA)
def forms_are_usual(case: Case) -> Iterator[Finding]:
    """Yield images of forms that loaders make something else of."""
    parts = list(distinct_parts(case))
    images = [sample.image for part in parts for sample in part.samples]
    colored = any(i.fault is None and not i.gray for i in images)
    for part in parts:
        for code, is_odd in _FORMS:
            yield from _found(part, code, is_odd, lambda image: image.form)
        yield from _found(
            part,
            GRAY,
            lambda image: image.gray,
            lambda image: f'{image.form} without colors',
            # All of a split, where others are not.
            Level.WARNING if colored else None,
        )


def _found(
    part: Part,
    code: Code,
    is_odd: Callable[[ImageScan], bool],
    text: Callable[[ImageScan], str],
    level_of_all: Level | None = None,
) -> Iterator[Finding]:
    """Yield images of a kind; one finding where all of a data set are."""
    odd = [s for s in part.samples if s.image.fault is None]
    odd = [sample for sample in odd if is_odd(sample.image)]
    if len(odd) == len(part.samples) > 1:
        yield code.found(
            f'all {len(odd)} images: {text(odd[0].image)}',
            part.split,
            value=len(odd),
            level=level_of_all,
        )
        return
    for place, image, _ in odd:
        yield code.found(text(image), part.split, place.image)


def _image_loader(part: Part) -> LoadImageFromFile | None:
    """Return the transform that loads images, if it is mmcv's."""
    steps = getattr(getattr(part.dataset, 'pipeline', None), 'transforms', ())
    return next((s for s in steps if isinstance(s, LoadImageFromFile)), None)


def _turns(part: Part) -> bool:
    """Tell whether images of a data set are turned as EXIF says."""
    loader = _image_loader(part)
    backends, colors = _TURNING
    return loader is None or (
        loader.imdecode_backend in backends and loader.color_type in colors
    )


def _loaded_size(part: Part, image: ImageScan) -> tuple[int, int]:
    """Return width and height of an image as it is loaded."""
    assert image.size
    aside = image.turned in _ASIDE and not _turns(part)
    return image.size[::-1] if aside else image.size


def is_turned_label(sample: Sample) -> bool:
    """Tell whether image and label differ in what is up alone.

    Args:
        sample: An image with its label.
    """
    _, image, label = sample
    if image.turned not in _ASIDE or not image.size:
        return False
    return bool(label and label.size in (image.size, image.size[::-1]))


@check(TURNED)
def images_are_upright(case: Case) -> Iterator[Finding]:
    """Yield images that EXIF turns, and whether labels lie as they do."""
    for part in distinct_parts(case):
        turned = [s for s in part.samples if s.image.turned > 1]
        apart = [_lies_apart(part, sample) for sample in turned]
        # Other images stay as they are.
        change: dict[str, Any] = {}
        for twin in case.parts if apart and all(apart) else ():
            if twin.cfg == part.cfg:
                change |= _other_way(twin)
        for sample, other in zip(turned, apart, strict=True):
            yield TURNED.found(
                f'EXIF orientation {sample.image.turned}, '
                + _what_happens(part, sample, other),
                part.split,
                sample.place.image,
                sample.image.turned,
                change=change,
                level=_level(sample, other),
            )


def _lies_apart(part: Part, sample: Sample) -> bool | None:
    """Tell by the sizes whether a label lies otherwise than its image.

    Returns:
        None if they do not tell.
    """
    _, image, label = sample
    if label is None or not is_turned_label(sample):
        return None
    assert image.size
    if image.size[0] == image.size[1]:
        return None
    return label.size != _loaded_size(part, image)


def _level(sample: Sample, apart: bool | None) -> Level | None:
    """Return how bad a turned image is."""
    if sample.label is None or apart is False:
        return Level.NOTE
    return Level.ERROR if apart else None


def _what_happens(part: Part, sample: Sample, apart: bool | None) -> str:
    """Say what the loader does, and whether the label fits."""
    loader = _image_loader(part)
    name = type(loader).__name__ if loader else 'the loader'
    if loader:
        name += f' ({loader.imdecode_backend}, {loader.color_type})'
    does = 'turns it' if _turns(part) else 'does not turn it'
    if sample.label is None:
        return f'and {name} {does}'
    label = {
        None: 'if the label lies as the image does, its size does not tell',
        True: 'and the label lies the other way',
        False: 'as the label lies',
    }[apart]
    return f'and {name} {does}, {label}'


def _other_way(part: Part) -> dict[str, Any]:
    """Return a pipeline that turns images where it did not, or not."""
    loader = _image_loader(part)
    if loader is None:
        return {}
    color = 'color' if not _turns(part) else 'color_ignore_orientation'
    return change_step(
        part, loader, lambda step: [{**step, 'color_type': color}]
    )
