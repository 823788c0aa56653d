"""Any data set of images and index masks, described by the config alone."""

from collections.abc import Mapping, Sequence
from typing import Any

from mmseg.registry import DATASETS

from mmseg_ext.datasets.paired import PairedDataset
from mmseg_ext.formats.color_masks import IGNORE_INDEX
from mmseg_ext.utils.arguments import is_integer, require
from mmseg_ext.utils.images import IMAGE_SUFFIXES

__all__ = ['FolderDataset']


@DATASETS.register_module()
class FolderDataset(PairedDataset):
    """A folder of images and one of index masks, whose files stay as they are.

    For data of one's own without a class of one's own: the config says which
    classes there are and what the values in the files mean. Masks of 0 and
    255, as most tools write them for one kind of object::

        dict(
            type='FolderDataset',
            data_root='data/potholes',
            data_prefix=dict(img_path='images', seg_map_path='masks'),
            metainfo=dict(
                classes=('road', 'pothole'),
                palette=[[128, 64, 128], [255, 0, 0]],
            ),
            label_map={0: 0, 255: 1},
            pipeline=...,
        )

    Images and masks of any names are paired by an ``ann_file`` with two
    columns, such as ``img_001.jpg mask_001.png``.

    Args:
        label_map: ``value in the file -> index of its class``, or 255, which
            losses and scores leave out. Values that it lacks stay as they
            are. All change at once. Indices are those of ``classes`` in
            ``metainfo``. Keys may be texts, as in JSON and on the command
            line. The transform that loads labels applies it, MMSeg's
            ``LoadAnnotations`` or ``FastLoadAnnotations``. None for masks
            that hold indices.
        img_suffix: End of an image's name, or several ends; by default those
            of all images. Where masks lie in the folder of the images, names
            with their end are theirs.
        seg_map_suffix: End of a mask's name.
        **kwargs: As for :class:`PairedDataset`, whose errors it has:
            ``data_root``, ``data_prefix``, ``ann_file``, ``metainfo``,
            ``pipeline``, ``indices``...

    Raises:
        ValueError: ``metainfo`` has no ``classes``, or a palette of another
            length; ``label_map`` has other keys or values than these, or a
            key twice, as a number and a text; or it is there beside
            ``reduce_zero_label`` or a choice among the classes of a subclass,
            which it can do itself.
    """

    def __init__(
        self,
        *,
        label_map: Mapping[int, int] | None = None,
        img_suffix: str | Sequence[str] = IMAGE_SUFFIXES,
        seg_map_suffix: str = '.png',
        **kwargs: Any,
    ) -> None:
        self._label_map = label_map
        super().__init__(
            img_suffix=img_suffix, seg_map_suffix=seg_map_suffix, **kwargs
        )

    def get_label_map(
        self, new_classes: Sequence[str] | None = None
    ) -> dict[int, int] | None:
        """Return what values in files become; None if nothing changes.

        Args:
            new_classes: The classes of ``metainfo``.

        Raises:
            ValueError: As for the class.
        """
        self._check_metainfo(new_classes)
        chosen: dict[int, int] | None = super().get_label_map(new_classes)
        if self._label_map is None:
            return chosen
        name = type(self).__name__
        for other, there in (
            ('reduce_zero_label=True', self.reduce_zero_label),
            ('fewer classes than those of METAINFO', chosen),
        ):
            if there:
                raise ValueError(
                    f'{name}: label_map and {other} are both given: write in '
                    f'label_map alone what becomes of each value, '
                    f'{IGNORE_INDEX} where it is ignored'
                )
        assert new_classes  # checked above
        values = _read(name, self._label_map, len(new_classes))
        same = all(old == new for old, new in values.items())
        return None if same else values

    def _check_metainfo(self, classes: Sequence[str] | None) -> None:
        """Check that there are classes, and as many colors."""
        if not classes:
            raise ValueError(
                f'{type(self).__name__}: metainfo={self._metainfo} names no '
                "classes: expected metainfo=dict(classes=('road', ...)), the "
                'name of each index'
            )
        palette = self._metainfo.get('palette') or ()
        ours = len(self.METAINFO.get('palette') or ())
        if palette and len(palette) not in (len(classes), ours):
            raise ValueError(
                f'{type(self).__name__}: metainfo has {len(classes)} classes '
                f'and {len(palette)} colors in palette: expected a color for '
                'each class, or no palette'
            )


def _read(
    name: str, label_map: Mapping[Any, Any], count: int
) -> dict[int, int]:
    """Return a label map with numbers for texts, checked.

    Args:
        name: The class, for messages.
        label_map: As users write it.
        count: Number of classes.
    """
    expected = (
        f'values in files, 0 to {IGNORE_INDEX}, with the index of the class '
        f'of each, 0 to {count - 1}, or {IGNORE_INDEX} for none, such as '
        '{0: 0, 255: 1}'
    )
    fits = isinstance(label_map, Mapping)
    require(f'{name}: label_map', label_map, fits, expected)
    values: dict[int, int] = {}
    for key, new in label_map.items():
        is_number = isinstance(key, str) and key.isascii() and key.isdecimal()
        old = int(key) if is_number else key
        fits = is_integer(old, 0) and old <= IGNORE_INDEX
        fits &= is_integer(new, 0) and (new < count or new == IGNORE_INDEX)
        require(f'{name}: label_map', {key: new}, fits, expected)
        if old in values:
            raise ValueError(
                f'{name}: label_map={dict(label_map)!r} has the value {old} '
                'twice, as a number and as a text: expected it once'
            )
        values[int(old)] = int(new)
    return values
