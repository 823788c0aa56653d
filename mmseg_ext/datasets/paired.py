"""The base of data sets with a folder of images and one of labels."""

import logging
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from mmengine.logging import print_log
from mmseg.datasets import BaseSegDataset

from mmseg_ext.datasets.checks import (
    SEG_FOLDERS,
    check_folder,
    check_keys,
    check_labels,
    check_local,
    check_names,
    expand_paths,
    read_ann_file,
)
from mmseg_ext.utils.files import find_files
from mmseg_ext.utils.text import (
    decode_text,
    listing,
    normal_form,
    printable,
)

__all__ = ['PairedDataset']


class PairedDataset(BaseSegDataset):
    """A folder of images and one of labels, paired by the files' stems.

    The base for classes of your own. Unlike MMSeg's ``BaseSegDataset``, whose
    arguments it has, it takes images of several suffixes, and names every
    missing image or label before the first is loaded. A stem is the path of a
    file in its folder without the suffix, in Unicode's form NFC: a name that
    macOS wrote matches the same name of another system::

        @DATASETS.register_module()
        class Potholes(PairedDataset):
            METAINFO = {
                'classes': ('road', 'pothole'),
                'palette': [[128, 64, 128], [255, 0, 0]],
            }

    Args:
        img_suffix: End of an image's name, or several ends.
        **kwargs: As :class:`mmseg.datasets.BaseSegDataset`: ``data_root``,
            ``data_prefix``, ``seg_map_suffix``, ``metainfo``, ``pipeline``,
            ``indices``... ``ann_file`` is a text file with one stem a line;
            without it all images are used. Without ``seg_map_path`` in
            ``data_prefix`` there are no labels; if the pipeline loads some,
            this takes ``test_mode``. In paths ``~`` is the user's folder.

    Raises:
        FileNotFoundError: A folder or listed file is missing, a folder holds
            no images, or an image has no label.
        TypeError: An argument is unknown, or ``data_prefix`` no dictionary.
        ValueError: ``data_prefix`` or ``metainfo`` has a misspelt key, no
            folder of images is given, or none of labels that are loaded; two
            images have the same stem, ``ann_file`` is not in UTF-8 or a stem
            in it leaves the folder, or ``backend_args`` asks for anything but
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
        lines = self._listed_stems()
        folder = Path(check_folder(self, 'img_path'))
        images = self._find_images(folder)
        # Blanks belong to a name only where there is such an image.
        listed = [stem if stem in images else stem.strip() for stem in lines]
        stems = listed or sorted(images)
        if not stems:
            raise FileNotFoundError(
                f'{folder} holds no *{" or *".join(self.img_suffix)} images'
            )
        _check_present(stems, images, folder, 'listed stem(s) without image')
        labels = self._find_labels(stems, images)
        return [
            {
                'img_path': str(images[stem]),
                'label_map': self.label_map,
                'reduce_zero_label': self.reduce_zero_label,
                'seg_fields': [],
            }
            | ({'seg_map_path': str(labels[stem])} if labels else {})
            for stem in stems
        ]

    def _listed_stems(self) -> list[str]:
        """Read the stems in ``ann_file``; none without one."""
        if not self.ann_file:
            return []
        expected = 'a text file with one stem a line'
        data = read_ann_file(self.ann_file, expected)
        text = decode_text(data, f'ann_file {self.ann_file}')
        lines = normal_form(text).replace('\r\n', '\n').split('\n')
        stems = [line for line in lines if line.strip()]
        folder = self.data_prefix['img_path']
        check_names(self.ann_file, stems, 'stems', folder)
        return stems

    def _find_images(self, folder: Path) -> dict[str, Path]:
        """Return the images of a folder by their stems."""
        # Where both lie in one folder, X_L.png also ends like an image.
        prefix = self.data_prefix
        shared = prefix.get('seg_map_path') == prefix['img_path']
        return _find(
            folder, self.img_suffix, self.seg_map_suffix if shared else None
        )

    def _find_labels(
        self, stems: Sequence[str], images: Mapping[str, Path]
    ) -> dict[str, Path]:
        """Return the labels by their stems; none where there is no folder."""
        if not self.data_prefix.get('seg_map_path'):
            check_labels(self)
            return {}
        folder = Path(check_folder(self, 'seg_map_path'))
        labels = _find(folder, [self.seg_map_suffix])
        _check_present(stems, labels, folder, 'image(s) without label')
        alone = labels.keys() - images.keys()
        if alone:
            _warn(
                f'{len(alone)} label(s) in {folder} have no image in '
                f'{self.data_prefix["img_path"]} and are not used: '
                f'{_names(alone)}'
            )
        return labels


def _find(
    folder: Path, suffixes: Sequence[str], without: str | None = None
) -> dict[str, Path]:
    """Return ``{stem: path}`` of files that end in one of the suffixes.

    Stems are in normal form.
    """
    found: dict[str, Path] = {}
    for name in find_files(
        folder,
        suffixes,
        lambda link, why: _warn(
            f'left out {printable(link)}: it {printable(why)}'
        ),
    ):
        lowered = name.lower()
        if without and lowered.endswith(without.lower()):
            continue
        suffix = next(s for s in suffixes if lowered.endswith(s.lower()))
        stem = normal_form(name[: len(name) - len(suffix)])
        if stem in found:
            both = printable(found[stem]), printable(folder / name)
            raise ValueError(
                f'{" and ".join(both)} have the same stem '
                f"{stem!r}, so which is the label's image is not known: "
                'remove one of them'
            )
        found[stem] = folder / name
    return found


def _warn(text: str) -> None:
    print_log(text, logger='current', level=logging.WARNING)


def _check_present(
    stems: Iterable[str], found: dict[str, Path], folder: Path, what: str
) -> None:
    """Name the stems of which no file was found."""
    missing = set(stems) - found.keys()
    if missing:
        raise FileNotFoundError(
            f'{len(missing)} {what} in {folder}: {_names(missing)}; add the '
            'files, or list the stems to use in ann_file'
        )


def _names(stems: Iterable[str]) -> str:
    return listing([*map(printable, sorted(stems))], 10)
