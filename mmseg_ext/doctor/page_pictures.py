"""Pictures of the page: suspect images with their labels, and pairs."""

import os
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from typing import Any, NamedTuple

import cv2
import msgspec
import numpy as np

from mmseg_ext.doctor.case import Case
from mmseg_ext.doctor.faults import FAULTS
from mmseg_ext.doctor.findings import Finding
from mmseg_ext.doctor.instances import boxes_left_out, instances_of
from mmseg_ext.doctor.label_loaders import LabelLoader, find_loader
from mmseg_ext.doctor.page_numbers import names_of
from mmseg_ext.doctor.parts import Part, Sample
from mmseg_ext.formats.coco import Annotation, Category, CocoFile, Segmentation
from mmseg_ext.formats.masks import read_mask
from mmseg_ext.utils.files import read_file
from mmseg_ext.utils.images import decode_image
from mmseg_ext.utils.text import listing
from mmseg_ext.visualization.coco_sheets import CategoryStyle, draw_instances
from mmseg_ext.visualization.contact_sheets import distinct_color, shrink
from mmseg_ext.visualization.mask_sheets import draw_label_map
from mmseg_ext.visualization.web_page import Picture, hex_color, jpeg_uri

__all__ = ['Album']

#: Pictures of a code, files side by side, and classes that the legend of a
#: picture names.
_FINDINGS, _FILES, _CLASSES = 6, 3, 8

#: Characters that all pictures take: a page of more megabytes opens slowly,
#: and cannot be sent by mail.
_ROOM = 4_000_000

#: Share of the colors of a label that is no class but a color.
_OPACITY = 0.5

#: Entries of the legend for pixels without class, in the middle of the grays
#: and reds of their squares.
_IGNORED, _STRANGE = '#bebebe', '#e46464'

Shown = tuple[str | None, str]


class _Owned(NamedTuple):
    """A sample, and the data set that it is of."""

    part: Part
    sample: Sample


class Album:
    """Draws files that findings are about, as long as there is room.

    Args:
        case: What was gathered. Pictures are made of its samples alone.
        findings: All.
        colors: Of each class by name, RGB.
    """

    def __init__(
        self,
        case: Case,
        findings: Iterable[Finding],
        colors: Mapping[str, tuple[int, int, int]],
    ) -> None:
        self._colors = colors
        self._room = _ROOM
        self._loaders: dict[str, LabelLoader | None] = {}
        wanted = {
            os.path.abspath(file)
            for finding in findings
            for file in _files(finding)
        }
        self._owners: dict[str, _Owned] = {}
        for part in case.parts:
            for sample in part.samples:
                for file in (sample.place.image, sample.place.label):
                    place = file and os.path.abspath(file)
                    if place in wanted:
                        self._owners.setdefault(place, _Owned(part, sample))

    def of(self, findings: Iterable[Finding]) -> list[Picture]:
        """Return pictures of the files of some findings.

        Args:
            findings: Those of a code.
        """
        pictures: list[Picture] = []
        seen = set()
        for finding in findings:
            for files in _together(finding, self._owners):
                if self._room <= 0 or len(pictures) == _FINDINGS:
                    return pictures
                if files not in seen:
                    seen.add(files)
                    pictures.append(self._draw(finding, files))
        return pictures

    def some(self, case: Case, count: int) -> list[Picture]:
        """Return pictures of images, evenly spread over the first data set.

        Args:
            case: What was gathered.
            count: How many.
        """
        part = next((part for part in case.parts if len(part.samples)), None)
        if part is None:
            return []
        total = len(part.samples)
        count = min(count, total)
        pictures = []
        for number in range(count):
            owned = _Owned(part, part.samples[number * total // count])
            pictures.append(self._pair(owned, owned.sample.place.image))
        return pictures

    def _draw(self, finding: Finding, files: Sequence[str]) -> Picture:
        """Draw an image with its label, or several images."""
        # A text about a list of images stands above all of them.
        text = finding.text if finding.file in files else ''
        note = ': '.join(filter(None, [finding.split, text]))
        owners = [self._owners[os.path.abspath(file)] for file in files]
        # An image and its own label stand together anyhow.
        if len({owned.sample.place for owned in owners}) == 1:
            return self._pair(owners[0], files[0])._replace(note=note)
        shown = [*map(self._one, owners, files)]
        return self._picture(shown, ' | '.join(files), note)

    def _one(self, owned: _Owned, file: str) -> Shown:
        """Return an image, or a label over its image if that is the file."""
        image, label, _ = self._both(owned)
        place = owned.sample.place
        return image if file == place.image or label is None else label

    def _pair(self, owned: _Owned, file: str) -> Picture:
        image, label, legend = self._both(owned)
        shown = [image] if label is None else [image, label]
        return self._picture(shown, file)._replace(legend=legend)

    def _picture(
        self, shown: Sequence[Shown], caption: str, note: str = ''
    ) -> Picture:
        sources = [source for source, _ in shown]
        self._room -= sum(len(source or '') for source in sources)
        return Picture(sources, [text for _, text in shown], caption, note)

    def _both(
        self, owned: _Owned
    ) -> tuple[Shown, Shown | None, list[tuple[str, str]]]:
        """Return image, label over it, and what its colors mean."""
        part, sample = owned
        name = os.path.basename(sample.place.image)
        # Of what is broken, such as a pipe, even reading may not end.
        fault = sample.image.fault or ''
        pixels = None
        if not fault:
            pixels, fault = _read(_read_image, sample.place.image)
        image: Shown = (
            (None, f'cannot be shown: {fault}')
            if pixels is None
            else (jpeg_uri(shrink(pixels)[0]), name)
        )
        if sample.place.label is None:
            return image, *_with_instances(owned, pixels, name)
        label_name = os.path.basename(sample.place.label)
        labels, fault = self._read_label(part, sample)
        if labels is None:
            return image, (None, f'cannot be shown: {fault}'), []
        if pixels is None:
            pixels = np.full((*labels.shape[:2], 3), 128, np.uint8)
        canvas = shrink(pixels)[0].copy()
        legend = self._lay_over(canvas, labels, part)
        text = f'{label_name} over {name}'
        return image, (jpeg_uri(canvas), text), legend

    def _read_label(
        self, part: Part, sample: Sample
    ) -> tuple[np.ndarray | None, str]:
        """Return a label as it is loaded, else as it is stored."""
        place, _, scan = sample
        if scan is None or (scan.fault is not None and scan.size is None):
            return None, (scan and scan.fault) or 'it was not read'
        if part.key not in self._loaders:
            self._loaders[part.key] = find_loader(part.dataset)
        loader = self._loaders[part.key]
        if loader is not None:
            labels, _ = _read(loader.load, place.position)
            if labels is not None and labels.ndim == 2:
                return labels, ''
        return _read(_read_stored, place.label)

    def _lay_over(
        self, canvas: np.ndarray, labels: np.ndarray, part: Part
    ) -> list[tuple[str, str]]:
        """Draw a label on an image in place; return what its colors mean."""
        if labels.ndim == 3:
            size = canvas.shape[1::-1]
            shown = cv2.resize(labels, size, interpolation=cv2.INTER_NEAREST)
            canvas[:] = cv2.addWeighted(
                canvas, 1 - _OPACITY, shown, _OPACITY, 0
            )
            return []
        names = names_of(part)
        colors = {
            index: self._colors[name]
            for index, name in enumerate(names)
            if index != part.ignore_index
        }
        draw_label_map(canvas, labels, colors, [part.ignore_index])
        values, pixels = np.unique(labels, return_counts=True)
        counts = Counter(dict(zip(values.tolist(), pixels, strict=True)))
        known = [value for value, _ in counts.most_common() if value in colors]
        legend = [
            (hex_color(colors[value]), names[value])
            for value in known[:_CLASSES]
        ]
        if len(known) > _CLASSES:
            legend.append(('', f'and {len(known) - _CLASSES} more'))
        if part.ignore_index in counts:
            legend.append((_IGNORED, 'ignored'))
        strange = sorted({*counts} - {*colors, part.ignore_index})
        if strange:
            legend.append((_STRANGE, f'no class: {listing(strange, 3)}'))
        return legend


def _with_instances(
    owned: _Owned, pixels: np.ndarray | None, name: str
) -> tuple[Shown | None, list[tuple[str, str]]]:
    """Return an image with boxes and masks, and what the colors mean."""
    part, sample = owned
    instances = instances_of(part, sample.place.position)
    instances += boxes_left_out(part, sample.place.image, instances)
    if pixels is None or not instances:
        return None, []
    names = names_of(part)
    annotations = [
        Annotation(
            0,
            label if 0 <= label < len(names) else None,
            list(box),
            _segmentation(mask),
        )
        for label, box, mask in instances
    ]
    classes = CategoryStyle(
        CocoFile(
            [], annotations, [Category(*each) for each in enumerate(names)]
        )
    )
    picture = draw_instances(pixels, annotations, classes)
    counts = Counter(each.category_id for each in annotations)
    legend = [
        (hex_color(distinct_color(classes.numbers[key])), text)
        for key, text in zip(
            dict(counts.most_common()), classes.counts(counts), strict=True
        )
        if classes.several
    ]
    text = f'instances of {name}'
    return (jpeg_uri(np.asarray(picture)), text), legend[:_CLASSES]


def _segmentation(mask: Any) -> Segmentation:
    """Return a mask as it is drawn; None if it is broken."""
    # Codes that pycocotools made are bytes.
    if isinstance(mask, Mapping) and isinstance(mask.get('counts'), bytes):
        mask = {**mask, 'counts': mask['counts'].decode(errors='replace')}
    with suppress(msgspec.ValidationError):
        found: Segmentation = msgspec.convert(mask, Segmentation)
        return found
    return None


def _files(finding: Finding) -> list[str]:
    """Return the files of a finding that may be shown."""
    files = [finding.file, *finding.others]
    return [file for file in files if file][: _FINDINGS + 1]


def _together(
    finding: Finding, known: Mapping[str, Any]
) -> list[tuple[str, ...]]:
    """Return the files of a finding that stand side by side.

    Those of a finding about a list of images, as of a COCO file, stand each
    by itself.
    """
    files = [
        file for file in _files(finding) if os.path.abspath(file) in known
    ]
    if finding.file in files:
        return [tuple(files[:_FILES])]
    return [(file,) for file in files]


def _read(function: Any, *args: Any) -> tuple[np.ndarray | None, str]:
    """Return what a function reads, or why it cannot."""
    try:
        return function(*args), ''
    # What loads labels may be the user's own, and raise anything.
    except FAULTS as error:
        return None, str(error) or type(error).__name__


def _read_image(path: str) -> np.ndarray:
    """Return an image, uint8 RGB (H, W, 3)."""
    name = os.path.basename(path)
    return np.ascontiguousarray(decode_image(read_file(path), name)[..., ::-1])


def _read_stored(path: str) -> np.ndarray:
    """Return a label as it is stored: values (H, W), or colors, uint8 RGB."""
    mask = read_mask(read_file(path), os.path.basename(path), True)
    labels = mask.gray()
    if labels is not None:
        return labels
    return np.ascontiguousarray(mask.colors()[..., ::-1])
