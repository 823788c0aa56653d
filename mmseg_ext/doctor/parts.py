"""The data sets of a config, and what was found in their files."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import msgspec
from mmengine.config import ConfigDict

from mmseg_ext.doctor.coco_tables import CocoTable

__all__ = ['GRID', 'ImageScan', 'LabelScan', 'Part', 'Place', 'Sample']

#: Rows and columns of :attr:`LabelScan.grid`.
GRID = 16


class ImageScan(msgspec.Struct, frozen=True, omit_defaults=True):
    """What an image file holds.

    Attributes:
        size: Width and height as loaders see them, turned by EXIF; None if
            the file cannot be read.
        fault: Why it cannot be read, in one line; None if it can.
        missing: Whether the reason is that there is no such file.
        form: Format and mode by Pillow's names, such as ``'JPEG RGB'``,
            ``'PNG I;16'``.
        turned: The EXIF orientation, 1 to 8; 1 is upright.
        gray: Whether all channels are equal.
        mean: Mean of the channels red, green, blue at an eighth of the size,
            or what leaves 32 rows and columns, 0 to 255.
        deviation: Their standard deviations.
        digest: Of the content of the file, equal for equal files.
        words: The difference hash, as 64-bit words; empty where only the data
            set's own loader can read the file, and mean and deviation are
            not known.
    """

    size: tuple[int, int] | None = None
    fault: str | None = None
    missing: bool = False
    form: str = ''
    turned: int = 1
    gray: bool = False
    mean: tuple[float, float, float] = (0.0, 0.0, 0.0)
    deviation: tuple[float, float, float] = (0.0, 0.0, 0.0)
    digest: bytes = b''
    words: tuple[int, ...] = ()


class LabelScan(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a label file holds, and what the data set's loader makes of it.

    Attributes:
        size: Width and height; None if the file cannot be read.
        fault: Why the file cannot be read as a mask, in one line.
        missing: Whether the reason is that there is no such file.
        form: As :attr:`mmseg_ext.formats.masks.Mask.form`, such as
            ``'8-bit gray PNG'``, ``'palette PNG'``, ``'RGB PNG'``.
        lossy: Whether the format changes pixels, as JPEG does.
        values: Pixels of each value in the file, of one channel; empty for
            colors.
        colors: How many colors a file in color has; 0 for one channel.
        loaded: Pixels of each value that the loader gives, with class lists,
            ``label_map`` and ``reduce_zero_label``; None where it fails.
        loaded_fault: Why it fails, in one line.
        digest: Of the pixels, equal for equal label maps.
        blended: Of the runs of equal values along the rows of a file of one
            channel, the share of those that are one or two pixels long and
            have a value between their neighbors': many where edges were
            blended, by JPEG or by a resize.
        grid: The loaded label at 16x16 places, row after row, as bytes; 255
            where it is above 254 or below 0; empty without one.
    """

    size: tuple[int, int] | None = None
    fault: str | None = None
    missing: bool = False
    form: str = ''
    lossy: bool = False
    values: dict[int, int] = {}
    colors: int = 0
    loaded: dict[int, int] | None = None
    loaded_fault: str | None = None
    digest: bytes = b''
    blended: float = 0.0
    grid: bytes = b''


class Place(NamedTuple):
    """Where the files of an image of a data set are.

    Attributes:
        position: Of the image in the data set.
        image: The image file.
        label: The label file; None where it has none.
    """

    position: int
    image: str
    label: str | None = None


class Sample(NamedTuple):
    """An image of a data set, with its label.

    Attributes:
        place: The files.
        image: What the image file holds.
        label: What the label file holds; None where there is none.
    """

    place: Place
    image: ImageScan
    label: LabelScan | None = None


@dataclass
class Part:
    """A data set of a config without others in it.

    Attributes:
        split: ``'train'``, ``'val'`` or ``'test'``.
        key: Of its config, ``'train_dataloader.dataset.datasets.0'``.
        cfg: Its config.
        dataset: It, built; None if it cannot be.
        fault: Why not, in one line; None if it was built.
        empty: Whether the reason is that nothing is in it, or left of it.
        missing: The file or folder whose absence is the reason.
        classes: Names of the classes, as the built data set has them, or as
            its config says where it cannot be built.
        ignore_index: Label of pixels without class.
        samples: Its images, as far as they were looked at; a sample of them
            with ``--sample``. Each file once.
        total: How many images it has.
        unknown: Positions of images whose files are not known, of those that
            were looked at.
        coco: Its COCO file; None for data sets of another kind.
    """

    split: str
    key: str
    cfg: ConfigDict
    dataset: Any = None
    fault: str | None = None
    empty: bool = False
    missing: str | None = None
    classes: tuple[str, ...] = ()
    ignore_index: int = 255
    samples: Sequence[Sample] = ()
    total: int = 0
    unknown: Sequence[int] = ()
    coco: CocoTable | None = None

    @property
    def reduce_zero_label(self) -> bool:
        """Whether 0 is ignored, and the others begin with it."""
        return bool(getattr(self.dataset, 'reduce_zero_label', False))

    @property
    def folder(self) -> str:
        """The key of its ``data_prefix`` in the config."""
        return f'{self.key}.data_prefix'
