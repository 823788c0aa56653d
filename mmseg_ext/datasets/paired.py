"""What data sets of images and label files share."""

import logging
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from mmengine.logging import print_log
from mmseg.datasets import BaseSegDataset

from mmseg_ext.utils.files import path_inside


class PairedDataset(BaseSegDataset):
    """A folder of images and one of labels, paired by the files' stems.

    A stem is the path of a file in its folder without the suffix. Every
    missing image or label is named before the first is loaded.

    Args:
        img_suffix: End of an image's name, or several ends.
        **kwargs: As :class:`mmseg.datasets.BaseSegDataset`. ``ann_file`` is a
            text file with one stem a line; without it all images are used.

    Raises:
        FileNotFoundError: A folder or listed file is missing, a folder holds
            no images, or an image has no label.
        ValueError: No folder of images is given, two images have the same
            stem, or a listed stem leaves the folder.
    """

    def __init__(
        self, *, img_suffix: str | Sequence[str], **kwargs: Any
    ) -> None:
        suffixes = [img_suffix] if isinstance(img_suffix, str) else img_suffix
        super().__init__(img_suffix=tuple(suffixes), **kwargs)

    def load_data_list(self) -> list[dict]:
        """Pair images and labels by name.

        Returns:
            A dict for each image, sorted by path or as ``ann_file`` lists
            them.
        """
        folder = self._folder('img_path')
        if folder is None:
            raise ValueError(
                f'{type(self).__name__}: data_prefix={self.data_prefix} names '
                'no img_path, the folder of the images'
            )
        label_folder = self._folder('seg_map_path')
        images = self._find_images(folder)
        stems = self._listed_stems() or sorted(images)
        if not stems:
            raise FileNotFoundError(
                f'{folder} holds no *{" or *".join(self.img_suffix)} images'
            )
        _check_present(stems, images, folder, 'listed stem(s) without image')
        labels = {}
        if label_folder:
            labels = _find(label_folder, [self.seg_map_suffix])
            _check_present(
                stems, labels, label_folder, 'image(s) without label'
            )
            _warn_of_rest(labels, images, label_folder, folder)
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

    def _folder(self, key: str) -> Path | None:
        """Give one of the folders of ``data_prefix``, which must be there."""
        if not self.data_prefix.get(key):
            return None
        folder = Path(self.data_prefix[key])
        if not folder.is_dir():
            raise FileNotFoundError(
                f'{type(self).__name__}: folder {folder} is missing; '
                f'data_root={self.data_root!r} and data_prefix[{key!r}] say '
                'where it should be'
            )
        return folder

    def _find_images(self, folder: Path) -> dict[str, Path]:
        """Give the images of a folder by their stems."""
        # Where both lie in one folder, X_L.png also ends like an image.
        prefix = self.data_prefix
        shared = prefix.get('seg_map_path') == prefix['img_path']
        return _find(
            folder, self.img_suffix, self.seg_map_suffix if shared else None
        )

    def _listed_stems(self) -> list[str]:
        """Read the stems in ``ann_file``; none without one."""
        if not self.ann_file:
            return []
        if not os.path.isfile(self.ann_file):
            raise FileNotFoundError(
                f'ann_file {self.ann_file} is missing; expected a text file '
                'with one stem a line'
            )
        lines = Path(self.ann_file).read_text(encoding='utf-8').splitlines()
        stems = [line.strip() for line in lines if line.strip()]
        if not stems:
            raise ValueError(f'ann_file {self.ann_file} lists no stems')
        for stem in stems:
            path_inside(self.data_prefix['img_path'], stem)
        return stems


def _find(
    folder: Path, suffixes: Sequence[str], without: str | None = None
) -> dict[str, Path]:
    """Give ``{stem: path}`` of the files that end in one of the suffixes."""
    found = {}
    for path in folder.rglob('*'):
        name = path.relative_to(folder).as_posix()
        suffix = next((s for s in suffixes if name.endswith(s)), None)
        # Hidden files are not data: macOS leaves ._X.png beside X.png.
        if suffix is None or path.name.startswith('.'):
            continue
        if without and name.endswith(without):
            continue
        stem = name.removesuffix(suffix)
        if stem in found:
            one, other = sorted([found[stem], path])
            raise ValueError(
                f'{one} and {other} have the same stem {stem!r}, so which is '
                "the label's image is not known: remove one of them"
            )
        found[stem] = path
    return found


def _check_present(
    stems: Iterable[str], found: dict[str, Path], folder: Path, what: str
) -> None:
    """Name the stems of which no file was found."""
    missing = set(stems) - found.keys()
    if missing:
        raise FileNotFoundError(
            f'{len(missing)} {what} in {folder}: {_some(missing)}; add the '
            'files, or list the stems to use in ann_file'
        )


def _warn_of_rest(
    labels: dict[str, Path],
    images: dict[str, Path],
    label_folder: Path,
    folder: Path,
) -> None:
    """Name the labels that have no image."""
    alone = labels.keys() - images.keys()
    if alone:
        print_log(
            f'{len(alone)} label(s) in {label_folder} have no image in '
            f'{folder} and are not used: {_some(alone)}',
            logger='current',
            level=logging.WARNING,
        )


def _some(stems: set[str], limit: int = 10) -> str:
    """Name the first stems of a set."""
    rest = len(stems) - limit
    return ', '.join(sorted(stems)[:limit]) + f' and {rest} more' * (rest > 0)
