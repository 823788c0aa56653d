"""Any data set of images and RGB masks."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mmseg.datasets.transforms import LoadAnnotations
from mmseg.registry import DATASETS

from mmseg_ext.datasets.checks import (
    check_keys,
    check_local,
    expand_paths,
)
from mmseg_ext.datasets.paired import PairedDataset
from mmseg_ext.datasets.transforms.fast_load_annotations import (
    FastLoadAnnotations,
)
from mmseg_ext.formats.color_masks import (
    ClassDict,
    Groups,
    MaskRules,
    assumed_classes,
    find_class_dict,
    load_classes,
    mask_rules,
)

__all__ = ['ColorMaskDataset']

#: Loaders that do not ask for the class list. Others may be anybody's.
_OF_PLAIN_INDICES = (LoadAnnotations, FastLoadAnnotations)


@DATASETS.register_module()
class ColorMaskDataset(PairedDataset):
    """A folder of images and one of masks in which each class has a color.

    Load the labels with ``LoadColorMasks``, which takes index masks as well,
    such as those that ``mmseg-ext convert camvid`` writes.

    The class list and the palette are those of ``class_dict``; else of the
    ``class_dict.csv`` beside the folder of the labels; else of the one in the
    data root; else of ``METAINFO``, where a subclass has it. The order of the
    list is that of the class indices. A class named void, unlabelled or
    unlabeled keeps its place in the list, so that the indices are the rows of
    the file, but its pixels become 255.

    Whether a mask holds indices or colors is decided by its values, and where
    these allow both it is an error: see
    :class:`mmseg_ext.formats.color_masks.MaskDecoder`.

    Args:
        grouping: ``'camvid11'`` merges CamVid's classes into the 11 of the
            benchmark; ``{group: ((R, G, B), (names of classes, ...))}`` merges
            others; None takes the list as it is.
        class_dict: A CSV file with the header ``name,r,g,b``, relative to the
            data root, or ``{name: (R, G, B)}``. A file that ends in ``.txt``
            has one name a line and no colors, such as fast.ai's
            ``codes.txt``: the masks hold indices then.
        data_root: Folder that the other paths are relative to.
        data_prefix: ``img_path`` and ``seg_map_path``, the folders of images
            and labels; without ``seg_map_path`` there are no labels.
        img_suffix: End of an image's name, or several ends.
        seg_map_suffix: End of a label's name.
        metainfo: ``classes`` are those to use, a part of the class list.
        masks: ``'index'`` or ``'color'`` says what all masks hold; None
            decides for each of them.
        transparent: What transparent pixels are, ``'ignore'`` or the name of
            a class; None makes them an error.
        **kwargs: As for :class:`PairedDataset`: ``ann_file`` (a list of
            stems), ``pipeline``, ``indices``...

    Raises:
        FileNotFoundError: There is no class list.
        ValueError: The grouping is unknown or does not fit the class list,
            the class list is not right, or ``masks`` or ``transparent`` is
            none of the above, or does not go with the list; or
            ``reduce_zero_label`` is set, or the pipeline reads masks by
            another loader whose indices are not those of the list. Both also
            as for :class:`PairedDataset`.
    """

    #: Whether ``METAINFO`` is the list of a release, which folders of other
    #: data that lack their own would get as well.
    _OF_A_RELEASE = False

    def __init__(
        self,
        grouping: str | Groups | None = None,
        class_dict: ClassDict | None = None,
        data_root: str | None = None,
        data_prefix: dict | None = None,
        img_suffix: str | Sequence[str] = ('.jpg', '.png'),
        seg_map_suffix: str = '.png',
        metainfo: dict | None = None,
        masks: str | None = None,
        transparent: str | None = None,
        **kwargs: Any,
    ) -> None:
        options = {
            'data_root': data_root,
            'data_prefix': data_prefix or {},
            **kwargs,
        }
        check_keys(type(self), options, data_prefix=self.FOLDERS)
        check_local(type(self).__name__, options)
        options = expand_paths(options)
        self._assumed: str | None = None
        self._classes = load_classes(
            self._find_classes(class_dict, options), grouping
        )
        if options.get('reduce_zero_label'):
            raise ValueError(
                f'{type(self).__name__}: reduce_zero_label=True has no '
                'meaning here: a class named void in the list is ignored'
            )
        self._rules = mask_rules(
            self._classes, masks, transparent, self._assumed
        )
        super().__init__(
            img_suffix=img_suffix,
            seg_map_suffix=seg_map_suffix,
            metainfo={
                'classes': self._classes.names,
                'palette': [list(color) for color in self._classes.palette],
                **(metainfo or {}),
            },
            **options,
        )

    def full_init(self) -> None:
        """Load the list of files, after a check of the pipeline."""
        for transform in self.pipeline.transforms:
            labels = self.data_prefix.get('seg_map_path')
            if labels and type(transform) in _OF_PLAIN_INDICES:
                self._check_plain(type(transform).__name__)
        super().full_init()

    def _check_plain(self, loader: str) -> None:
        """Check that a loader without class list gives the same indices."""
        plain = tuple(range(len(self._classes.names)))
        same = MaskRules('index')
        if self._classes.index_map != plain or self._rules != same:
            raise ValueError(
                f'{type(self).__name__}: {loader} gives the values of index '
                'masks as they are, and knows nothing of colors, void and '
                "groups: use LoadColorMasks; or say masks='index' where the "
                'list has none of these'
            )

    def _find_classes(
        self, class_dict: ClassDict | None, options: dict[str, Any]
    ) -> ClassDict:
        """Return the class list, or the file that has it."""
        if isinstance(class_dict, Mapping):
            return class_dict
        root = Path(options['data_root'] or '')
        if class_dict:
            return root / os.path.expanduser(class_dict)
        labels = options['data_prefix'].get('seg_map_path')
        folders = [(root / labels).parent] if labels else []
        if path := find_class_dict(*folders, root):
            return path
        places = dict.fromkeys(map(str, [*folders, root]))
        if {'classes', 'palette'} <= self.METAINFO.keys():
            names, colors = self.METAINFO['classes'], self.METAINFO['palette']
            if self._OF_A_RELEASE:
                self._assumed = assumed_classes(type(self).__name__, places)
            return dict(zip(names, colors, strict=True))
        raise FileNotFoundError(
            f'{type(self).__name__}: no class_dict.csv in '
            f'{" or ".join(places)}; expected a CSV file with the header '
            "name,r,g,b there, or class_dict='FILE.csv', or "
            "class_dict=dict(road=(128, 64, 128), ...), or class_dict='FILE."
            "txt' with one name a line for index masks"
        )

    def get_label_map(
        self, new_classes: Sequence[str]
    ) -> dict[int, int] | None:
        """Map old indices to new ones or 255; None if nothing changes.

        MMSeg compares with the class list of the class; here that of the
        instance counts.

        Args:
            new_classes: Class names to use; a part of the data set's.

        Raises:
            ValueError: A class is not in the data set's list.
        """
        names = self._classes.names
        if not new_classes or not isinstance(new_classes, list | tuple):
            raise ValueError(
                f'metainfo classes={new_classes!r}: expected names of classes'
            )
        if len(set(new_classes)) < len(new_classes):
            raise ValueError(
                f'metainfo classes {list(new_classes)} name one twice'
            )
        if tuple(new_classes) == names:
            return None
        unknown = [name for name in new_classes if name not in names]
        if unknown:
            raise ValueError(
                f'metainfo classes {unknown} are not among {list(names)}'
            )
        new = {name: index for index, name in enumerate(new_classes)}
        ignored: int = self.ignore_index
        return {
            index: new.get(name, ignored) for index, name in enumerate(names)
        }

    def get_data_info(self, idx: int) -> dict:
        """Return MMSeg's data info, and what ``LoadColorMasks`` needs.

        See :class:`mmseg_ext.formats.color_masks.ColorClasses` for
        ``color_map`` and ``index_map``, and
        :class:`mmseg_ext.formats.color_masks.MaskRules` for ``mask_rules``.
        """
        info = super().get_data_info(idx)
        info['color_map'] = self._classes.color_map
        info['index_map'] = self._classes.index_map
        info['mask_rules'] = self._rules
        return info
