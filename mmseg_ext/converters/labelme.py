"""labelme: shapes on photographs to label maps and splits for training."""

import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import NamedTuple

from mmseg_ext.converters import core
from mmseg_ext.converters.core import Invalid, InvalidInputError, reading
from mmseg_ext.converters.outputs import Outputs
from mmseg_ext.converters.photographs import photograph_size
from mmseg_ext.formats.color_masks import (
    IGNORE_INDEX,
    check_classes,
    voc_color,
    write_class_dict,
)
from mmseg_ext.formats.labelme import (
    BACKGROUND,
    IGNORED,
    LabelmeFile,
    decode_labelme,
    draw,
    listed_classes,
    outlines,
    read_labelme,
    read_labels,
)
from mmseg_ext.utils.files import find_files, path_inside, same_file
from mmseg_ext.utils.images import encode_labels
from mmseg_ext.utils.polygons import filled_otherwise, redrawn_line
from mmseg_ext.utils.scratch import working_in

__all__ = ['Report', 'convert']

_SPLITS = ('train', 'val')

#: Folders of the photographs and of the label maps.
_FOLDERS = ('images', 'labels')


@dataclass
class Report(core.Report):
    """What a conversion did.

    Attributes:
        images: Number of images, by split.
        shapes: Number of shapes, by label.
        redrawn: Number of label maps that were there, filled by another
            release of Pillow, and were drawn again.
    """

    images: dict[str, int] = field(default_factory=dict)
    shapes: Counter[str] = field(default_factory=Counter)
    redrawn: int = 0

    def lines(self) -> Iterator[str]:
        """Yield the labels and the images of each split."""
        for label, count in sorted(self.shapes.items()):
            yield f'{label}: {count} shapes'
        if self.redrawn:
            yield redrawn_line(self.redrawn)
        splits = ', '.join(f'{n} {split}' for split, n in self.images.items())
        yield (
            f'{self.out_dir}: {splits} images; {self.written} written, '
            f'{self.kept} were there already'
        )


def convert(
    data_root: str | os.PathLike[str],
    out_dir: str | os.PathLike[str] | None = None,
    *,
    labels: str | os.PathLike[str] | None = None,
    copy: bool = False,
    val_fraction: float = 0.2,
    seed: int = 0,
    nproc: int = 1,
    overwrite: bool = False,
    skip_invalid: bool = False,
    progress: bool = True,
) -> Report:
    """Make a folder to train on from photographs labeled with labelme.

    ``a/x.json`` becomes ``labels/a/x.png``, 8-bit class indices, its
    photograph ``images/a/x`` with its suffix; ``class_dict.csv`` has the
    classes and ``splits/{train,val}.txt`` the stems. ``ColorMaskDataset``
    reads that. A run that was stopped goes on where it was and ends in the
    same bytes. Label maps that are there and differ at edges of polygons
    only, as those do that another release of Pillow filled
    (:mod:`mmseg_ext.utils.polygons`), are drawn again.

    Args:
        data_root: Folder with JSON files, at any depth.
        out_dir: Folder to write, by default ``<data_root>/index``.
        labels: labelme's list of labels, one a line, in the order of the
            indices; by default ``<data_root>/labels.txt``, or else
            ``_background_`` and all labels there are, sorted. ``__ignore__``
            becomes 255, and so do pixels in no shape if the list has no
            ``_background_``.
        copy: Copy photographs, even where a hard link can be made.
        val_fraction: Share of the images for validation.
        seed: What the choice of these depends on, besides the names.
        nproc: Number of processes.
        overwrite: Write again what is there.
        skip_invalid: Leave out invalid files and list them in
            ``skipped.json``, instead of stopping at the first.
        progress: Show progress bars.

    Returns:
        Counts, and what was left out.

    Raises:
        FileNotFoundError: The data root, or any JSON file in it, is missing.
        ValueError: A file is invalid, an argument is out of range, or
            ``out_dir`` holds other files than this conversion gives or lies
            among those that are read.
    """
    core.check_share('val_fraction', val_fraction)
    root = Path(data_root).expanduser()
    out_dir = Path(out_dir or root / 'index').expanduser()
    report, invalid = Report(out_dir), Invalid(skip_invalid)
    files = _find_files(root, out_dir, invalid)
    invalid.remove_list(out_dir)
    # What labels there are is known before anything is written.
    read = core.run_jobs(
        _Reader(root),
        files,
        nproc=nproc,
        desc='labels',
        progress=progress,
    )
    found = [sample for _, sample in invalid.sift(read)]
    used = set().union(*(sample.labels for sample in found))
    classes = listed_classes(_read_names(root, labels), used)
    colors = {name: voc_color(index) for index, name in enumerate(classes)}
    check_classes(f'labels of {root}', colors)
    indices = {name: index for index, name in enumerate(classes)}
    outputs = Outputs(out_dir, overwrite)
    results = [path for one in found for path in one.targets(out_dir)]
    outputs.keep_apart(
        results, (root / n for one in found for n in (one.name, one.image))
    )
    outputs.refuse_strangers(results, map(out_dir.joinpath, _FOLDERS))
    summary = out_dir / 'class_dict.csv'
    lists = {split: out_dir / 'splits' / f'{split}.txt' for split in _SPLITS}
    outputs.start_anew([summary, *lists.values()])
    with working_in(out_dir):
        converted = core.run_jobs(
            _Worker(root, outputs, copy, indices | {IGNORED: IGNORE_INDEX}),
            found,
            nproc=nproc,
            scratch=out_dir,
            progress=progress,
        )
        stems = []
        sifted = outputs.sift(converted, invalid, lambda s: s.targets(out_dir))
        for sample, result in sifted:
            stems.append(sample.stem)
            report.shapes += sample.labels
            report.written += result.written
            report.kept += not result.written
            report.redrawn += result.redrawn
        parts = core.divide(stems, val_fraction, seed, str)
        for (split, path), part in zip(lists.items(), parts, strict=True):
            report.images[split] = len(part)
            core.write_split(path, part, seed)
        write_class_dict(summary, colors)
        report.skipped = invalid.write_list(out_dir)
    return report


def _find_files(root: Path, out_dir: Path, invalid: Invalid) -> list[str]:
    """List the JSON files, relative to the root, but for lists of skips."""
    core.require_folder(root, 'a folder of photographs with JSON files')
    real, own = root.resolve(), out_dir.resolve()
    if own == real:
        raise ValueError(
            f'out_dir={out_dir} is the data root; choose another folder'
        )
    names = [
        name
        for name in find_files(root, ['.json'])
        if not _is_list_of_skips(root / name)
    ]
    for name in names:
        if real in own.parents and own in (root / name).resolve().parents:
            raise ValueError(
                f'{root / name} is read, but lies in out_dir={out_dir}; '
                'choose another folder'
            )
    if not names:
        raise FileNotFoundError(
            f'{root} has no JSON files; expected those of labelme, such as '
            'x.json beside x.jpg'
        )
    faults = {name: core.name_fault(name, in_list=True) for name in names}
    for name, fault in faults.items():
        if fault:
            invalid.note(InvalidInputError(root / name, fault))
    return [name for name in names if not faults[name]]


def _is_list_of_skips(path: Path) -> bool:
    """Tell ``skipped.json`` of a run from the file of a photograph."""
    if path.name != 'skipped.json' or not path.is_file():
        return False
    with open(path, 'rb') as file:
        return file.read(1) == b'['


def _read_names(
    root: Path, labels: str | os.PathLike[str] | None
) -> list[str]:
    """Read the list of labels; none if there is no such file by default."""
    path = Path(labels or root / 'labels.txt').expanduser()
    if labels is None and not os.path.lexists(path):
        return []
    return read_labels(path)


@dataclass(frozen=True)
class _Sample:
    """A file, its photograph, and how often each label is.

    Both are paths relative to the root; that of the photograph is not checked.
    """

    name: str
    image: str
    labels: Counter[str]

    @property
    def stem(self) -> str:
        return os.path.splitext(self.name)[0]

    def targets(self, out_dir: Path) -> tuple[Path, Path]:
        """Return where image and label go."""
        images, labels = _FOLDERS
        suffix = os.path.splitext(self.image)[1]
        return (
            out_dir / images / f'{self.stem}{suffix}',
            out_dir / labels / f'{self.stem}.png',
        )


def _read(path: Path) -> LabelmeFile:
    with reading(path, ''):
        return decode_labelme(read_labelme(path))


@dataclass(frozen=True)
class _Reader:
    """Looks what a file has."""

    root: Path

    def __call__(self, name: str, scratch: Path | None) -> _Sample:
        content = _read(self.root / name)
        labels = Counter(shape.label for shape in content.shapes)
        image = os.path.join(os.path.dirname(name), content.image)
        return _Sample(name, image, labels)


class _Converted(NamedTuple):
    """Whether something was written, and the label drawn again."""

    written: bool
    redrawn: bool


@dataclass(frozen=True)
class _Worker:
    """Converts files; what a process has to know for it."""

    root: Path
    outputs: Outputs
    copy: bool
    indices: dict[str, int]

    def __call__(self, sample: _Sample, scratch: Path | None) -> _Converted:
        path = self.root / sample.name
        content = _read(path)
        image = self.image(path, content)
        background = self.indices.get(BACKGROUND, IGNORE_INDEX)
        with reading(path, ''):
            labels = draw(content, self.indices, background)
        place, target = sample.targets(self.outputs.out_dir)
        outputs = self.outputs
        there = outputs.read_labels(target)
        redrawn = filled_otherwise(there, labels, outlines(content))
        if redrawn:
            outputs = replace(outputs, overwrite=True)
        written = outputs.write_png(
            target, encode_labels(labels), path, scratch
        )
        written |= self.outputs.place(image, place, self.copy)
        return _Converted(written, redrawn)

    def image(self, path: Path, content: LabelmeFile) -> Path:
        """Return the photograph of a file, which must fit it."""
        folder = path.parent.relative_to(self.root)
        with reading(path, 'imagePath: '):
            image = same_file(
                path_inside(self.root, str(folder / content.image))
            )
        size = content.imageWidth, content.imageHeight
        core.check_size(path, size, image, photograph_size(image))
        return image
