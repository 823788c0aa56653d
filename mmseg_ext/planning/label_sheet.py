"""A contact sheet of images with the labels that a config will train on."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np

from mmseg_ext.formats.coco import CocoFile, decode_coco
from mmseg_ext.formats.exports.export import Picture
from mmseg_ext.formats.image_facts import LabeledImage
from mmseg_ext.formats.mask_folders import LabeledSet
from mmseg_ext.planning.splits import Splits
from mmseg_ext.planning.survey import Survey
from mmseg_ext.utils.files import read_file
from mmseg_ext.visualization.coco_sheets import draw_coco_sheets
from mmseg_ext.visualization.contact_sheets import SheetOptions
from mmseg_ext.visualization.mask_sheets import draw_mask_sheets

__all__ = ['NUMBER', 'choose_pictures', 'draw_labels']

#: Images on the sheet.
NUMBER = 12

#: What the names of sheets begin with.
_NAME = 'labels'


def choose_pictures(found: Survey, among: Sequence[int]) -> list[int]:
    """Choose images that show all classes, rare ones first.

    Args:
        found: The survey.
        among: Numbers of pictures.

    Returns:
        At most :data:`NUMBER` of them, in ascending order: for each class,
        from the rarest on, one that shows much of it, unless a chosen one has
        it; the others spread over the rest.
    """
    has = found.pixels[among] > 0
    chosen: list[int] = []
    for index in np.argsort(has.sum(axis=0), kind='stable'):
        known = has[chosen, index].any() if chosen else False
        if has[:, index].any() and not known and len(chosen) < NUMBER:
            chosen.append(int(found.pixels[among, index].argmax()))
    rest = [place for place in range(len(among)) if place not in chosen]
    wanted = min(NUMBER - len(chosen), len(rest))
    chosen += [rest[k * len(rest) // wanted] for k in range(wanted)]
    return sorted(among[place] for place in chosen)


def draw_labels(
    found: Survey,
    splits: Splits,
    ann_file: Path | None,
    out_dir: Path,
    progress: bool = True,
) -> list[Path]:
    """Draw some training images with their labels.

    Args:
        found: The survey.
        splits: The split of each picture.
        ann_file: The COCO file of the training split; None for label maps.
        out_dir: Gets ``labels_001.jpg``.
        progress: Show progress bars.

    Returns:
        The files.

    Raises:
        OSError: A file cannot be read or written.
        ValueError: A file is broken.
    """
    export = found.export
    numbers = choose_pictures(found, splits.members['train'])
    pictures = [export.pictures[number] for number in numbers]
    options = SheetOptions(order='name', progress=progress)
    if ann_file is not None:
        names = {picture.name for picture in pictures}
        coco = decode_coco(
            read_file(ann_file, most=None), str(ann_file), CocoFile
        )
        coco.images = [i for i in coco.images if i.file_name in names]
        ids = {image.id for image in coco.images}
        coco.annotations = [a for a in coco.annotations if a.image_id in ids]
        paths = [export.folder / image.file_name for image in coco.images]
        return draw_coco_sheets(coco, paths, _NAME, out_dir, options)
    classes = export.classes
    assert classes is not None
    labeled = LabeledSet(
        _NAME,
        [
            LabeledImage(
                picture.name,
                export.folder / picture.name,
                partial(_read, found, picture),
                export.folder / (picture.labels or picture.name),
            )
            for picture in pictures
        ],
        classes.names,
        classes.palette,
    )
    return draw_mask_sheets(labeled, out_dir, options)


def _read(found: Survey, picture: Picture) -> tuple[np.ndarray, None]:
    return found.export.label_map(picture), None
