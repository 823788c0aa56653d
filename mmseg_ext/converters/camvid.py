"""CamVid: RGB masks to index masks."""

import os
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from tqdm import tqdm

from mmseg_ext.formats.color_masks import (
    MAX_UNKNOWN,
    ColorClasses,
    find_class_dict,
    load_classes,
    mask_decoder,
)
from mmseg_ext.utils.files import write_text
from mmseg_ext.utils.images import write_png
from mmseg_ext.utils.processes import ordered_map


@dataclass
class Report:
    """What a conversion did.

    Attributes:
        written: Number of index masks written.
        kept: Number of index masks that were there already.
        warnings: A sentence for each mask with unknown colors.
    """

    written: int = 0
    kept: int = 0
    warnings: list[str] = field(default_factory=list)


def convert(
    data_root: str | os.PathLike,
    out_dir: str | os.PathLike,
    grouping: str | None = None,
    max_unknown: float = MAX_UNKNOWN,
    nproc: int = 1,
    overwrite: bool = False,
) -> Report:
    """Write an index mask for each color mask of a copy of CamVid.

    The pixels are those that the ``LoadColorMasks`` transform gives, since
    both use the same decoder. ``class_dict.csv`` with the classes written is
    put beside the masks: from it ``CamVid`` knows what the indices mean.

    Args:
        data_root: Folder with ``train_labels`` and so on.
        out_dir: Gets the same folders and names, 8-bit indices and 255.
        grouping: As for :func:`load_classes`.
        max_unknown: Share of a mask's pixels that may have unknown colors.
        nproc: Number of processes.
        overwrite: Write again what is there. Otherwise files that are there
            are kept; they are whole, since they are renamed when finished.

    Returns:
        Counts and warnings.

    Raises:
        FileNotFoundError: The root or its ``*_labels`` folders are missing.
        ValueError: A mask is wrong, or ``out_dir`` holds masks of another
            class list.
    """
    data_root, out_dir = Path(data_root), Path(out_dir)
    masks = _find_masks(data_root)
    classes = load_classes(find_class_dict(data_root), grouping)
    _write_classes(classes, out_dir)
    jobs = [
        (mask, out_dir / mask.relative_to(data_root), classes, max_unknown)
        for mask in masks
    ]
    todo = [job for job in jobs if overwrite or not job[1].exists()]
    report = Report(written=len(todo), kept=len(jobs) - len(todo))
    warnings = ordered_map(_convert_mask, todo, nproc)
    bar = tqdm(warnings, total=len(todo), unit=' masks', disable=not todo)
    report.warnings.extend(filter(None, bar))
    return report


def _find_masks(data_root: Path) -> list[Path]:
    """List the masks of all splits."""
    if not data_root.is_dir():
        raise FileNotFoundError(f'data root {data_root} is missing')
    masks = sorted(
        path
        for path in data_root.glob('*_labels/**/*.png')
        if not path.name.startswith('.')
    )
    if not masks:
        raise FileNotFoundError(
            f'{data_root} has no masks; expected <split>_labels/*.png, as in '
            'train_labels/0001TP_006690_L.png'
        )
    return masks


def _write_classes(classes: ColorClasses, out_dir: Path) -> None:
    """Put the class list beside the masks; it must be that of those there."""
    rows = [
        ','.join(map(str, (name, *color)))
        for name, color in zip(classes.names, classes.palette, strict=True)
    ]
    text = '\n'.join(['name,r,g,b', *rows]) + '\n'
    path = out_dir / 'class_dict.csv'
    if path.exists() and path.read_text(encoding='utf-8') != text:
        raise ValueError(
            f'{path} is of another class list than the one asked for; '
            'choose another --out-dir'
        )
    write_text(path, text)


def _convert_mask(job: tuple[Path, Path, ColorClasses, float]) -> str | None:
    """Convert one mask; give the warning about it, if any."""
    mask, out, classes, max_unknown = job
    decoder = mask_decoder(classes.color_map, classes.index_map)
    labels, warning = decoder.decode_file(
        mask.read_bytes(), str(mask), max_unknown
    )
    write_png(out, np.ascontiguousarray(labels))
    return warning
