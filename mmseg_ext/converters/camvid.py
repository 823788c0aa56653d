"""CamVid, and data sets like it: color masks to index masks."""

import os
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from mmseg_ext.converters import core
from mmseg_ext.converters.core import Invalid, InvalidInputError, reading
from mmseg_ext.converters.outputs import Outputs
from mmseg_ext.formats.color_masks import (
    MAX_UNKNOWN,
    ColorClasses,
    MaskRules,
    assumed_classes,
    find_class_dict,
    load_classes,
    mask_decoder,
    mask_rules,
    write_class_dict,
)
from mmseg_ext.formats.masks import is_black_and_white
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
        classes: Sentence that says which class list was used.
        read_as: Number of masks of plain grays or with a palette by what
            their values were taken for, ``'index'`` or ``'color'``.
        black_and_white: Number of index masks that hold 0 and 255 alone.
        warnings: A sentence for each mask with unknown colors.
    """

    classes: str = ''
    read_as: Counter[str] = field(default_factory=Counter)
    black_and_white: int = 0
    warnings: list[str] = field(default_factory=list)

    def lines(self) -> Iterator[str]:
        """Yield the class list, the warnings and the totals."""
        yield self.classes
        for warning in self.warnings:
            yield f'warning: {warning}'
        if len(self.read_as) > 1:
            yield (
                'warning: masks were read in two ways, by their values: say '
                'by masks=... what they hold'
            )
        if 0 < self.black_and_white == self.written + self.kept:
            yield (
                'warning: all masks are indices of 0 and 255 alone, and 255 '
                'is ignored: if it is an object, give class_dict.csv a black '
                "and a white row, and leave out masks='index'"
            )
        if self.read_as:
            yield (
                f'of the masks in gray or with a palette, '
                f'{self.read_as["index"]} were read as class indices and '
                f'{self.read_as["color"]} as colors'
            )
        yield (
            f'{self.out_dir}: {self.written} index masks written, {self.kept} '
            f'were there already, {len(self.warnings)} with unknown colors'
        )


def convert(
    data_root: str | os.PathLike[str],
    out_dir: str | os.PathLike[str] | None = None,
    *,
    grouping: str | None = None,
    masks: str | None = None,
    transparent: str | None = None,
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
    A run that fails removes what it wrote.

    Args:
        data_root: Folder with ``train_labels`` and so on.
        out_dir: Gets the same folders and names, 8-bit indices and 255; by
            default ``<data_root>/index``, or ``<data_root>/<grouping>``.
        grouping: As for :func:`~mmseg_ext.formats.color_masks.load_classes`.
        masks: ``'index'`` or ``'color'`` says what all masks hold; None
            decides for each of them, as ``ColorMaskDataset`` does.
        transparent: What transparent pixels are, ``'ignore'`` or the name of
            a class; None makes them an error.
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
        ValueError: A mask is wrong, or may hold indices as well as colors; an
            argument is out of range; or ``out_dir`` holds masks of another
            class list or of other input, or lies among the masks.
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
    assumed = None if found else assumed_classes('CamVid', [str(data_root)])
    report.classes = f'{assumed or f"The classes are those of {found}"}.'
    rules = mask_rules(classes, masks, transparent, assumed)
    outputs.refuse_strangers(
        (job.target for job in jobs), out_dir.glob(f'*{_LABELS}')
    )
    outputs.start_anew([summary])
    with (
        working_in(out_dir),
        _leaving_nothing(out_dir, [job.target for job in jobs]),
        closing(
            core.run_jobs(
                _Worker(outputs, classes, rules, max_unknown),
                jobs,
                nproc=nproc,
                scratch=out_dir,
                unit=' masks',
                progress=progress,
            )
        ) as results,
    ):
        for _, result in outputs.sift(results, invalid, lambda j: [j.target]):
            report.written += result.written
            report.kept += not result.written
            report.warnings += filter(None, [result.warning])
            report.read_as.update(filter(None, [result.read_as]))
            report.black_and_white += result.black_and_white
        colors = dict(zip(classes.names, classes.palette, strict=True))
        write_class_dict(summary, colors)
        report.skipped = invalid.write_list(out_dir)
    return report


@contextmanager
def _leaving_nothing(out_dir: Path, results: Sequence[Path]) -> Iterator[None]:
    """Remove what is written inside, and its folders, if that fails.

    Masks that are made with a wrong class list would be in the way of the
    right one. What was stopped stays, to be continued.
    """
    before = {path: _file_number(path) for path in results}
    try:
        yield
    except Exception:
        for path, number in before.items():
            if _file_number(path) == number:
                continue
            path.unlink()
            for folder in path.relative_to(out_dir).parents[:-1]:
                with suppress(OSError):  # it holds others, or is gone
                    (out_dir / folder).rmdir()
        raise


def _file_number(path: Path) -> int | None:
    """Return the number of a file, which another has that took its place."""
    try:
        return path.stat().st_ino
    except FileNotFoundError:
        return None


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
    """Whether an index mask was written, and what is said about it."""

    written: bool
    warning: str | None
    read_as: str | None
    black_and_white: bool


@dataclass(frozen=True)
class _Worker:
    """Converts masks; what a process has to know for it."""

    outputs: Outputs
    classes: ColorClasses
    rules: MaskRules
    max_unknown: float

    def __call__(self, job: _Job, scratch: Path | None) -> _Converted:
        classes = self.classes
        decoder = mask_decoder(
            classes.color_map, classes.index_map, self.rules
        )
        path = str(job.mask)
        try:
            with reading(path, ''):
                decoded = decoder.decode_file(
                    read_file(job.mask), path, self.max_unknown
                )
        except InvalidInputError as error:
            # The decoder names the file as well.
            reason = error.reason.removeprefix(f'label {path}')
            raise InvalidInputError(path, reason.lstrip(': ')) from None
        data = encode_png(np.ascontiguousarray(decoded.labels))
        written = self.outputs.write_png(job.target, data, job.mask, scratch)
        indices = decoded.indices
        white = indices is not None and is_black_and_white(indices)
        return _Converted(written, decoded.warning, decoded.read_as, white)
