"""The base of data sets with a folder of images and one of labels."""

import logging
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from mmengine.logging import print_log
from mmseg.datasets import BaseSegDataset
from mmseg.registry import DATASETS

from mmseg_ext.datasets.checks import (
    SEG_FOLDERS,
    check_folder,
    check_keys,
    check_local,
    expand_paths,
    read_ann_file,
)
from mmseg_ext.formats.image_lists import (
    Files,
    Pair,
    match_files,
    read_pairs,
)
from mmseg_ext.utils.files import find_files, visible_entries
from mmseg_ext.utils.text import (
    decode_text,
    listing,
    normal_form,
    printable,
)

__all__ = ['PairedDataset']


@DATASETS.register_module()
class PairedDataset(BaseSegDataset):
    """A folder of images and one of labels, paired by the files' stems.

    For index masks as it is, with ``metainfo``, and the base for classes of
    your own. Unlike MMSeg's ``BaseSegDataset``, whose arguments it has, it
    takes images of several suffixes, and names every missing image or label
    before the first is loaded. A stem is the path of a file in its folder
    without the suffix, in Unicode's form NFC: a name that macOS wrote matches
    the same name of another system. A class of your own, to be registered in
    MMSeg's ``DATASETS``::

        class Potholes(PairedDataset):
            METAINFO = {
                'classes': ('road', 'pothole'),
                'palette': [[128, 64, 128], [255, 0, 0]],
            }

    Args:
        img_suffix: End of an image's name, or several ends.
        **kwargs: As :class:`mmseg.datasets.BaseSegDataset`: ``data_root``,
            ``data_prefix``, ``seg_map_suffix``, ``metainfo``, ``pipeline``,
            ``indices``... ``ann_file`` is a text file with one image a line;
            without it all images are used. A line is a stem; or a path of
            the image with its suffix, in the folder or with anything in front
            that ends in the folder's name, as in ``/SegNet/train/a.png``
            where images are in ``.../train``; or two such paths, of the image
            and its label, with blanks between. Without ``seg_map_path`` in
            ``data_prefix`` there are no labels. In paths ``~`` is the user's
            folder.

    Raises:
        FileNotFoundError: A folder or listed file is missing, a folder holds
            no images, or an image has no label. Lines of ``ann_file`` are
            named by their numbers.
        TypeError: An argument is unknown, or ``data_prefix`` no dictionary.
        ValueError: ``data_prefix`` or ``metainfo`` has a misspelt key, no
            folder of images is given; two images have the same stem,
            ``ann_file`` is not in UTF-8 or a line of it leaves the folder or
            fits several files, or ``backend_args`` asks for anything but
            files of this machine.
    """

    #: The keys that ``data_prefix`` may have; a subclass may add its own.
    FOLDERS = SEG_FOLDERS

    def __init__(
        self, *, img_suffix: str | Sequence[str] = '.jpg', **kwargs: Any
    ) -> None:
        suffixes = [img_suffix] if isinstance(img_suffix, str) else img_suffix
        check_keys(type(self), kwargs, data_prefix=self.FOLDERS)
        check_local(type(self).__name__, kwargs)
        super().__init__(img_suffix=tuple(suffixes), **expand_paths(kwargs))

    def load_data_list(self) -> list[dict]:
        """Pair images and labels, sorted by stem or as ``ann_file`` is."""
        if not self.data_prefix.get('img_path'):
            raise ValueError(
                f'{type(self).__name__}: data_prefix={self.data_prefix} names '
                'no img_path, the folder of the images'
            )
        text = self._list()
        images = self._find_images()
        if text is None and not images.paths:
            raise FileNotFoundError(
                f'{images.folder} holds no *{" or *".join(images.endings)} '
                'images'
            )
        labels = self._find_labels()
        if text is None:
            pairs = [Pair(stem, stem) for stem in sorted(images.paths)]
        else:
            pairs = read_pairs(self.ann_file, text, images, labels)
        if labels:
            _check_labels(pairs, images, labels)
        return [
            {
                'img_path': str(images.paths[pair.image]),
                'label_map': self.label_map,
                'reduce_zero_label': self.reduce_zero_label,
                'seg_fields': [],
            }
            | (
                {'seg_map_path': str(labels.paths[pair.label])}
                if labels
                else {}
            )
            for pair in pairs
        ]

    def _list(self) -> str | None:
        """Read ``ann_file``; None without one."""
        if not self.ann_file:
            return None
        data = read_ann_file(
            self.ann_file, 'a text file with one image a line'
        )
        return decode_text(data, f'ann_file {self.ann_file}')

    def _find_images(self) -> Files:
        """Return the images."""
        # Where both lie in one folder, X_L.png also ends like an image.
        prefix = self.data_prefix
        shared = prefix.get('seg_map_path') == prefix['img_path']
        folder = Path(check_folder(self, 'img_path'))
        return _find(
            folder, self.img_suffix, self.seg_map_suffix if shared else None
        )

    def _find_labels(self) -> Files | None:
        """Return the labels; None where there is no folder of them."""
        if not self.data_prefix.get('seg_map_path'):
            return None
        folder = Path(check_folder(self, 'seg_map_path'))
        return _find(folder, [self.seg_map_suffix])


def _find(
    folder: Path, endings: Sequence[str], without: str | None = None
) -> Files:
    """Return the files in a folder that end in one of the endings."""
    names = find_files(
        folder,
        endings,
        lambda link, why: _warn(
            f'left out {printable(link)}: it {printable(why)}'
        ),
    )
    return match_files(folder, names, endings, without)


def _check_labels(pairs: Sequence[Pair], images: Files, labels: Files) -> None:
    """Name images without label, and labels that are not used."""
    needed = {pair.label for pair in pairs}
    missing = needed - labels.paths.keys()
    if missing:
        raise FileNotFoundError(
            f'{len(missing)} image(s) without label in {labels.folder}: '
            f'{_names(missing)}; expected names that end in '
            f'{labels.endings[0]} (seg_map_suffix)'
            + _others(missing, labels)
            + '; add the files, or list the stems to use in ann_file'
        )
    alone = labels.paths.keys() - images.paths.keys() - needed
    # A list of other names may be one of several.
    if alone and all(pair.image == pair.label for pair in pairs):
        _warn(
            f'{len(alone)} label(s) in {labels.folder} have no image in '
            f'{images.folder} and are not used: {_names(alone)}'
        )


def _others(stems: Iterable[str], labels: Files) -> str:
    """Name what lies in the place of the first missing label, if anything."""
    first = min(stems)
    folder, start = (labels.folder / first).parent, Path(first).name
    names = [
        entry.name
        for entry in (visible_entries(folder) if folder.is_dir() else ())
        if re.match(rf'{re.escape(start)}(?!\w*\d)', normal_form(entry.name))
    ]
    found = listing([*map(printable, sorted(names))], 3)
    return f', and there is {found}' if names else ''


def _warn(text: str) -> None:
    print_log(text, logger='current', level=logging.WARNING)


def _names(stems: Iterable[str]) -> str:
    return listing([*map(printable, sorted(stems))], 10)
