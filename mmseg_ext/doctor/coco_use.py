"""How a config uses a COCO file, and findings about rows of it."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from mmengine.config import ConfigDict

from mmseg_ext.doctor.case import Case
from mmseg_ext.doctor.coco_tables import CocoTable
from mmseg_ext.doctor.findings import Code, Finding, Level
from mmseg_ext.doctor.parts import Part
from mmseg_ext.utils.text import listing, printable

__all__ = [
    'coco_parts',
    'counted',
    'in_sized_images',
    'is_used',
    'left_out',
    'level_of',
    'loads_masks',
    'metrics_of',
    'of_annotations',
    'of_images',
    'steps',
]

#: So many ids or names stand in the value of a finding, and so many images
#: beside its file: more than anyone looks at, and a page can still be opened.
_IDS, _IMAGES = 1000, 100

#: So many are in its text.
_FEW = 3


def coco_parts(case: Case) -> Iterator[tuple[Part, CocoTable]]:
    """Yield the data sets that read COCO files which can be read."""
    for part in case.parts:
        if part.coco is not None and part.coco.fault is None:
            yield part, part.coco


def metrics_of(case: Case, part: Part) -> set[str]:
    """Return what COCO's evaluation measures of a data set by its file.

    Args:
        case: What was gathered.
        part: The data set.

    Returns:
        Of ``'bbox'``, ``'segm'``, ``'proposal'`` and ``'proposal_fast'``;
        nothing for a training set, and where no file is given to the metric,
        which makes one of its own then.
    """
    if part.split == 'train':
        return set()
    found = case.cfg.get(f'{part.split}_evaluator') or []
    metrics: set[str] = set()
    for one in found if isinstance(found, list | tuple) else [found]:
        if (
            isinstance(one, ConfigDict)
            and _name(one) == 'CocoMetric'
            and one.get('ann_file')
            and not one.get('format_only')
        ):
            names = one.get('metric', 'bbox')
            metrics |= {names} if isinstance(names, str) else {*names}
    return metrics


def is_used(case: Case, part: Part) -> bool:
    """Tell whether anything is learned or measured of a data set's labels."""
    return part.split == 'train' or bool(metrics_of(case, part))


def steps(cfg: Any) -> Iterator[ConfigDict]:
    """Yield the transforms of a pipeline, and those within others."""
    if isinstance(cfg, list | tuple):
        for each in cfg:
            yield from steps(each)
    elif isinstance(cfg, ConfigDict):
        if 'type' in cfg:
            yield cfg
        yield from steps(cfg.get('transforms'))


def loads_masks(part: Part) -> bool:
    """Tell whether the pipeline of a data set loads masks."""
    return any(
        _name(step).endswith('LoadAnnotations') and step.get('with_mask')
        for step in steps(part.cfg.get('pipeline'))
    )


def _name(cfg: ConfigDict) -> str:
    """Return the name of a class in a config, without its scope."""
    kind = cfg.get('type')
    return str(getattr(kind, '__name__', kind)).rpartition('.')[2]


def left_out(table: CocoTable) -> np.ndarray:
    """Tell which annotations MMDet leaves out as it reads a file.

    Args:
        table: The file.

    Returns:
        bool (N,).
    """
    rows = table.annotations
    left, top, across, down = rows.boxes.T
    sizes = np.full((len(rows.images), 2), np.nan)
    known = rows.images >= 0
    sizes[known] = table.images.sizes[rows.images[known]]
    right = np.minimum(left + across, sizes[:, 0])
    bottom = np.minimum(top + down, sizes[:, 1])
    outside = (right <= np.maximum(left, 0)) | (bottom <= np.maximum(top, 0))
    return (
        rows.ignored
        | ~known
        | (rows.labels < 0)
        | outside
        | (rows.areas <= 0)
        | (across < 1)
        | (down < 1)
    )


def in_sized_images(table: CocoTable) -> np.ndarray:
    """Tell which annotations are of images that have the size in the file.

    What is outside an image, or not of its size, is told of these alone.

    Args:
        table: The file.

    Returns:
        bool (N,).
    """
    rows = table.annotations.images
    result = rows >= 0
    result[result] = ~table.resized[rows[result]]
    return np.asarray(result)


def level_of(case: Case, part: Part, hit: np.ndarray) -> Level:
    """Return how bad it is that annotations are lost for the training.

    Args:
        case: What was gathered.
        part: The data set.
        hit: bool (N,), the annotations.

    Returns:
        That of an error where a class has no other.
    """
    if part.split != 'train' or len(case.splits['train'].parts) > 1:
        return Level.WARNING
    assert part.coco is not None
    labels = part.coco.annotations.labels
    kept = {*labels[~hit & (labels >= 0)].tolist()}
    lost = {*labels[hit & (labels >= 0)].tolist()} - kept
    return Level.ERROR if lost or hit.all() else Level.WARNING


def counted(count: int, what: str, plural: str = '') -> str:
    """Return a number of things in words."""
    return f'{count:,} {what if count == 1 else plural or f"{what}s"}'


def of_annotations(
    code: Code,
    part: Part,
    hit: np.ndarray,
    text: str,
    level: Level | None = None,
    mend: str | None = None,
    **value: Any,
) -> Finding:
    """Return a finding about annotations of a COCO file.

    Args:
        code: Its code.
        part: The data set.
        hit: bool (N,) or rows, the annotations.
        text: What is wrong with them, after their number and a colon.
        level: How bad it is; None for that of the code.
        mend: What mends it; None for that of the code.
        **value: More of the value.
    """
    assert part.coco is not None
    table = part.coco
    rows = np.flatnonzero(hit) if hit.dtype == bool else hit
    images = _unique(table.annotations.images[rows])
    ids = [table.annotations.ids[row] for row in rows]
    names = [table.images.names[row] for row in images]
    where = [f'id {listing([printable(str(key)) for key in ids], _FEW)}']
    if names:
        where.append(f'in {listing([*map(printable, names)], _FEW)}')
    return code.found(
        f'{counted(len(rows), "annotation")} of {len(table.annotations.ids):,}'
        f': {text} ({" ".join(where)})',
        part.split,
        table.path,
        {
            'count': len(rows),
            'annotations': ids[:_IDS],
            'images': names[:_IDS],
            **value,
        },
        mend=mend,
        others=[table.images.paths[row] for row in images[:_IMAGES]],
        level=level,
    )


def of_images(
    code: Code,
    part: Part,
    rows: Sequence[int] | np.ndarray,
    text: str,
    level: Level | None = None,
    mend: str | None = None,
    change: dict[str, Any] | None = None,
    **value: Any,
) -> Finding:
    """Return a finding about images of a COCO file.

    Args:
        code: Its code.
        part: The data set.
        rows: The images.
        text: What is wrong with them, after their number and a colon.
        level: How bad it is; None for that of the code.
        mend: What mends it; None for that of the code.
        change: Entries of the config that mend it.
        **value: More of the value.
    """
    assert part.coco is not None
    images = part.coco.images
    names = [images.names[row] for row in rows]
    return code.found(
        f'{counted(len(names), "image")} of {len(images.ids):,}: {text} '
        f'({listing([*map(printable, names)], _FEW)})',
        part.split,
        part.coco.path,
        {
            'count': len(names),
            'ids': [images.ids[row] for row in rows][:_IDS],
            'images': names[:_IDS],
            **value,
        },
        mend=mend,
        change=change,
        others=[images.paths[row] for row in rows[:_IMAGES]],
        level=level,
    )


def _unique(rows: np.ndarray) -> list[int]:
    """Return rows once each, in their order, without those that are -1."""
    return [row for row in dict.fromkeys(rows.tolist()) if row >= 0]
