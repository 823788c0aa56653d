"""CamVid, and data sets like it: color masks to index masks."""

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from mmseg_ext.converters import core
from mmseg_ext.converters.core import Invalid, InvalidInputError, reading
from mmseg_ext.converters.outputs import Outputs
from mmseg_ext.formats.color_masks import (
    MAX_UNKNOWN,
    ColorClasses,
    find_class_dict,
    load_classes,
    mask_decoder,
    write_class_dict,
)
from mmseg_ext.labels.camvid import CAMVID32
from mmseg_ext.utils.files import find_files, read_file, visible_entries
from mmseg_ext.utils.images import encode_png
from mmseg_ext.utils.scratch import working_in

__all__ = ['Report', 'convert']

#: What the name of a folder of masks ends in.
_LABELS = '_labels'


@dataclass
class Report(core.Report):
    """What a conversion did.

    Attributes:
        warnings: A sentence for each mask with unknown colors.
    """

    warnings: list[str] = field(default_factory=list)

    def lines(self) -> Iterator[str]:
        """Yield the warnings and the totals."""
        for warning in self.warnings:
            yield f'warning: {warning}'
        yield (
            f'{self.out_dir}: {self.written} index masks written, {self.kept} '
            f'were there already, {len(self.warnings)} with unknown colors'
        )


def convert(
    data_root: str | os.PathLike[str],
    out_dir: str | os.PathLike[str] | None = None,
    *,
    grouping: str | None = None,
    max_unknown: float = MAX_UNKNOWN,
    nproc: int = 1,
    overwrite: bool = False,
    skip_invalid: bool = False,
    progress: bool = True,
) -> Report:
    """Write an index mask for each color mask of a copy of CamVid.

    The pixels are those that the ``LoadColorMasks`` transform gives, since
    both use the same decoder. ``class_dict.csv`` with the classes written is
    put beside the masks: from it ``CamVid`` knows what the indices mean.

    A run that was stopped goes on where it was and ends in the same bytes.
    For this, masks that are there are compared with what their colors give.

    Args:
        data_root: Folder with ``train_labels`` and so on.
        out_dir: Gets the same folders and names, 8-bit indices and 255; by
            default ``<data_root>/index``, or ``<data_root>/<grouping>``.
        grouping: As for :func:`~mmseg_ext.formats.color_masks.load_classes`.
        max_unknown: Share of a mask's pixels that may have unknown colors.
        nproc: Number of processes.
        overwrite: Write again what is there.
        skip_invalid: Leave out invalid masks and list them in
            ``skipped.json``, instead of stopping at the first.
        progress: Show a progress bar.

    Returns:
        Counts and warnings.

    Raises:
        FileNotFoundError: The root or its ``*_labels`` folders are missing.
        ValueError: A mask is wrong, an argument out of range, or ``out_dir``
            holds masks of another class list or of other input, or lies among
            the masks.
    """
    if not 0 <= max_unknown <= 1:
        raise ValueError(
            f'max_unknown={max_unknown}: expected a share from 0 to 1'
        )
    data_root = Path(data_root).expanduser()
    out_dir = Path(out_dir or data_root / (grouping or 'index')).expanduser()
    report = Report(out_dir)
    invalid, outputs = Invalid(skip_invalid), Outputs(out_dir, overwrite)
    names = _find_masks(data_root)
    jobs = [_Job(data_root / name, out_dir / name) for name in names]
    found, summary = find_class_dict(data_root), out_dir / 'class_dict.csv'
    outputs.keep_apart(
        [summary, *(job.target for job in jobs)],
        [*filter(None, [found]), *(job.mask for job in jobs)],
        _searched(data_root, jobs),
    )
    invalid.remove_list(out_dir)
    classes = load_classes(found or CAMVID32, grouping)
    outputs.refuse_strangers(
        (job.target for job in jobs), out_dir.glob(f'*{_LABELS}')
    )
    outputs.start_anew([summary])
    with working_in(out_dir):
        results = core.run_jobs(
            _Worker(outputs, classes, max_unknown),
            jobs,
            nproc=nproc,
            scratch=out_dir,
            unit=' masks',
            progress=progress,
        )
        for _, result in outputs.sift(results, invalid, lambda j: [j.target]):
            report.written += result.written
            report.kept += not result.written
            report.warnings += filter(None, [result.warning])
        colors = dict(zip(classes.names, classes.palette, strict=True))
        write_class_dict(summary, colors)
        report.skipped = invalid.write_list(out_dir)
    return report


@dataclass(frozen=True)
class _Job:
    """A color mask and its index mask."""

    mask: Path
    target: Path


def _find_masks(data_root: Path) -> list[str]:
    """List the masks of all splits, relative to the data root."""
    core.require_folder(data_root, 'the folder of CamVid')
    # Each on its own, as the data set reads it: links may lead from one split
    # into another.
    splits = sorted(
        entry.name
        for entry in visible_entries(data_root)
        if entry.name.endswith(_LABELS)
    )
    masks = [
        f'{split}/{name}'
        for split in splits
        for name in find_files(data_root / split, ['.png'])
    ]
    if not masks:
        raise FileNotFoundError(
            f'{data_root} has no masks; expected <split>{_LABELS}/*.png, as '
            f'in train{_LABELS}/0001TP_006690_L.png'
        )
    return masks


def _searched(data_root: Path, jobs: Iterable[_Job]) -> set[Path]:
    """List the folders in which the next run, or a data set, looks."""
    folders, root = set[Path](), os.path.realpath(data_root)
    for job in jobs:
        folder = job.mask.parent
        split = data_root / folder.relative_to(data_root).parts[0]
        # The data set looks for images beside it.
        images = split.with_name(split.name.removesuffix(_LABELS))
        folders |= {folder, split, images}
    for folder in {job.target.parent for job in jobs}:
        # What this run writes may be a folder of masks for the next one.
        inner = os.path.relpath(os.path.realpath(folder), root)
        top = inner.partition(os.sep)[0]
        if top.endswith(_LABELS):
            folders.add(data_root / top)
    return folders


@dataclass(frozen=True)
class _Converted:
    """Whether an index mask was written, and the warning about it, if any."""

    written: bool
    warning: str | None


@dataclass(frozen=True)
class _Worker:
    """Converts masks; what a process has to know for it."""

    outputs: Outputs
    classes: ColorClasses
    max_unknown: float

    def __call__(self, job: _Job, scratch: Path | None) -> _Converted:
        decoder = mask_decoder(self.classes.color_map, self.classes.index_map)
        path = str(job.mask)
        try:
            with reading(path, ''):
                labels, warning = decoder.decode_file(
                    read_file(job.mask), path, self.max_unknown
                )
        except InvalidInputError as error:
            # The decoder names the file as well.
            reason = error.reason.removeprefix(f'label {path}')
            raise InvalidInputError(path, reason.lstrip(': ')) from None
        data = encode_png(np.ascontiguousarray(labels))
        written = self.outputs.write_png(job.target, data, job.mask, scratch)
        return _Converted(written, warning)
