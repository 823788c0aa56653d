"""What all data sets check before the first image is loaded, in one way.

Each of them reads its list or its folders in ``load_data_list``, so that
``lazy_init`` puts all of this off, and in this order: the list is there, can
be read, names something and leads to nothing outside the data; the folders
are there; so are the first files, or all where folders are read anyhow.
"""

import difflib
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import mmengine.fileio as fileio
from mmengine.dataset import BaseDataset

from mmseg_ext.formats.coco import CocoKind, decode_coco
from mmseg_ext.utils.files import path_inside, visible_entries
from mmseg_ext.utils.text import normal_form, printable

__all__ = [
    'SEG_FOLDERS',
    'check_folder',
    'check_keys',
    'check_local',
    'check_names',
    'expand_paths',
    'first_missing',
    'locate',
    'read_ann_file',
    'read_coco',
]

#: How many of the first files are looked for on disk. To look for all of them
#: takes minutes on a network drive; loading names the others.
_CHECKED = 3

#: Keys of ``data_prefix`` of data sets for segmentation.
SEG_FOLDERS = ('img_path', 'seg_map_path')

#: What does not tell keys of folders apart: MMSeg 0.x has ``img_dir``.
_ENDING = re.compile('_(path|dir|prefix|folder|root)$')

#: Names that are not alike: MMSeg 0.x calls the folder of labels ``ann_dir``.
_OTHER_NAMES = {'ann': 'seg_map'}


def expand_paths(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return a data set's arguments with the user's folder in place of ``~``.

    Paths are ``data_root``, ``ann_file`` and those in ``data_prefix``, as far
    as they are there.
    """
    expanded = dict(options)
    for key in ('data_root', 'ann_file'):
        if expanded.get(key):
            expanded[key] = os.path.expanduser(expanded[key])
    if expanded.get('data_prefix'):
        expanded['data_prefix'] = {
            key: os.path.expanduser(path) if path else path
            for key, path in expanded['data_prefix'].items()
        }
    return expanded


def check_keys(
    kind: type[BaseDataset],
    options: Mapping[str, Any],
    **expected: Sequence[str],
) -> None:
    """Check the keys in the arguments of a data set.

    MMEngine passes over those that it does not know, so that a misspelt one
    means that there are no labels, or the classes of another data set.

    Args:
        kind: The class of the data set.
        options: Its arguments.
        **expected: The keys that a dictionary among them may have.

    Raises:
        TypeError: One of these is no dictionary.
        ValueError: It has another key, or ``metainfo`` one that is nearly
            ``classes``, ``palette`` or another of the class; or its
            ``classes`` are one text, or name a class twice.
    """
    for argument, keys in expected.items():
        value = options.get(argument) or {}
        if not isinstance(value, Mapping):
            raise TypeError(
                f'{kind.__name__}: {argument}={value!r}: expected a '
                f'dictionary with the keys {", ".join(keys)}'
            )
        for key in value:
            if key not in keys:
                _refuse(kind, argument, key, keys)
    # Keys of one's own may be there, and are kept.
    known = list(dict.fromkeys(['classes', 'palette', *kind.METAINFO]))
    for key in options.get('metainfo') or {}:
        if key not in known and _likeliest(key, known):
            _refuse(kind, 'metainfo', key, known)
    _check_classes(kind, (options.get('metainfo') or {}).get('classes'))


def _check_classes(kind: type[BaseDataset], classes: Any) -> None:
    """Check the names of classes that are given, if any."""
    # MMEngine takes the path of a list, too.
    if isinstance(classes, str) and not os.path.isfile(classes):
        raise ValueError(
            f'{kind.__name__}: metainfo classes: expected a tuple or list of '
            f'names, got the text {classes!r}: one name is written '
            f'({classes!r},), with a comma'
        )
    if isinstance(classes, (list, tuple)):
        twice = [name for name in classes if classes.count(name) > 1]
        if twice:
            raise ValueError(
                f'{kind.__name__}: metainfo classes name one twice: '
                f'{twice[0]!r}; expected a name of its own for each'
            )


def _refuse(
    kind: type[BaseDataset], argument: str, key: str, known: Sequence[str]
) -> None:
    """Refuse a key, and name the one that is probably meant."""
    likeliest = _likeliest(key, known)
    hint = f', did you mean {likeliest!r}?' if likeliest else ';'
    raise ValueError(
        f'{kind.__name__}: {argument} has the unknown key {key!r}{hint} '
        f'Expected keys: {", ".join(known)}'
    )


def _likeliest(key: str, known: Iterable[str]) -> str | None:
    """Return the known key that is most like another, if one is like it."""
    shorts = {_ENDING.sub('', name): name for name in known}
    short = _ENDING.sub('', str(key).lower())
    close = difflib.get_close_matches(
        _OTHER_NAMES.get(short, short), shorts, n=1
    )
    return shorts[close[0]] if close else None


def check_local(name: str, options: Mapping[str, Any]) -> None:
    """Check that the data of a class is in folders of this machine.

    MMEngine's backends list folders by other rules, or not at all.

    Raises:
        ValueError: ``backend_args`` or a path asks for another backend.
    """
    backend_args = options.get('backend_args') or {}
    if backend_args.get('backend', 'local') != 'local':
        raise ValueError(
            f'{name}: backend_args={backend_args}: expected None, as its '
            'folders have to be listed: copy or mount the data on this '
            'machine, or give backend_args to the transforms alone'
        )
    prefix = options.get('data_prefix') or {}
    paths = options.get('data_root'), options.get('ann_file')
    for path in (*paths, *prefix.values()):
        if path and '://' in str(path):
            raise ValueError(
                f'{name}: {path} is not on this machine, and its folders have '
                'to be listed: copy or mount the data'
            )


def read_ann_file(
    path: str, expected: str, backend_args: dict | None = None
) -> bytes:
    """Read the file that lists the images.

    Args:
        path: The ``ann_file``.
        expected: What it should be and where it comes from.
        backend_args: As for MMEngine's ``fileio``.

    Raises:
        FileNotFoundError: It is missing.
    """
    if not path or not fileio.isfile(path, backend_args):
        raise FileNotFoundError(
            f'ann_file {path or repr(path)} is missing; expected {expected}'
        )
    return fileio.get(path, backend_args)


def read_coco(
    dataset: BaseDataset, key: str, kind: type[CocoKind], expected: str
) -> tuple[CocoKind, list[str]]:
    """Read the ``ann_file`` of a data set and check its images.

    Args:
        dataset: The data set.
        key: Names the folder of the images in ``data_prefix``.
        kind: The fields to read; all others, usually most of the file, are
            skipped.
        expected: What the file should be and where it comes from.

    Returns:
        The fields, and the paths of the images as :func:`locate` finds them.

    Raises:
        FileNotFoundError: The file, the folder or one of the first images is
            missing.
        ValueError: The file is no JSON, not of that form, lists no images, or
            one leads out of the folder.
    """
    path, backend_args = dataset.ann_file, dataset.backend_args
    data = read_ann_file(path, expected, backend_args)
    try:
        coco = decode_coco(data, f'ann_file {path}', kind)
    except ValueError as error:
        raise ValueError(f'{error}; expected {expected}') from None
    names = [image.file_name for image in coco.images]
    check_names(path, names, 'images', dataset.data_prefix[key])
    folder = check_folder(dataset, key)
    images = locate(folder, names, backend_args)
    if missing := first_missing(images, backend_args):
        raise FileNotFoundError(
            f'image {printable(missing)} of {path} is missing; '
            f'{_where(dataset, key)}'
        )
    return coco, images


def check_names(
    path: str, names: Sequence[str], what: str, folder: str
) -> None:
    """Check what an ``ann_file`` lists.

    Args:
        path: The ``ann_file``.
        names: Paths relative to ``folder``.
        what: What they are, for the message.
        folder: Where they have to stay inside.

    Raises:
        ValueError: There are none, or one leads out of the folder.
    """
    if not names:
        raise ValueError(f'ann_file {path} lists no {what}')
    root = os.path.abspath(folder)
    for name in names:
        try:
            path_inside(root, name)
        except ValueError as error:
            raise ValueError(f'ann_file {path}: {error}') from None


def check_folder(dataset: BaseDataset, key: str) -> str:
    """Return a folder of ``data_prefix``; '' is the working directory.

    Raises:
        FileNotFoundError: It is missing.
    """
    folder: str = dataset.data_prefix[key]
    if not fileio.isdir(folder or os.curdir, dataset.backend_args):
        raise FileNotFoundError(
            f'{type(dataset).__name__}: folder {folder} is missing; '
            f'{_where(dataset, key)}'
        )
    return folder


def locate(
    folder: str, names: Sequence[str], backend_args: dict | None = None
) -> list[str]:
    """Return the paths of files that a JSON file names.

    On disk, a name may be in another form of Unicode and its suffix in the
    other case. Only the first few names and those that are not ASCII are
    looked for; where one of them is not there, all are.

    Args:
        folder: Where the files are.
        names: Paths relative to it.
        backend_args: As for MMEngine's ``fileio``; other backends have the
            names as they are.

    Returns:
        The path of the one file that has a name or looks like it, else the
        name's own path.
    """
    paths = [os.path.join(folder, name) for name in names]
    doubtful = paths[:_CHECKED] + [
        path
        for path, name in zip(paths, names, strict=True)
        if not name.isascii()
    ]
    local = (backend_args or {}).get('backend', 'local') == 'local'
    if not local or all(map(os.path.exists, doubtful)):
        return paths
    alike: dict[str, dict[str, list[str]]] = {}
    return [
        path if os.path.exists(path) else _alike(folder, name, alike) or path
        for path, name in zip(paths, names, strict=True)
    ]


def _alike(
    folder: str, name: str, known: dict[str, dict[str, list[str]]]
) -> str | None:
    """Return the one file that looks like a name, if there is one.

    Args:
        folder: Where to look.
        name: A path relative to it.
        known: What folders hold, by looks; filled by this function.
    """
    path = folder
    for part in os.path.normpath(name).split(os.sep):
        if path not in known:
            known[path] = {}
            for entry in visible_entries(path or os.curdir):
                known[path].setdefault(_looks(entry.name), []).append(
                    entry.name
                )
        found = known[path].get(_looks(part), [])
        if part in found:
            found = [part]
        if len(found) != 1:
            return None
        path = os.path.join(path, found[0])
    return path


def _looks(name: str) -> str:
    """Return what names have in common that look the same."""
    stem, suffix = os.path.splitext(normal_form(name))
    return stem + suffix.lower()


def first_missing(
    paths: Sequence[str], backend_args: dict | None = None
) -> str | None:
    """Return the first of the first few files that is not there, if any."""
    first = paths[:_CHECKED]
    return next((p for p in first if not fileio.isfile(p, backend_args)), None)


def _where(dataset: BaseDataset, key: str) -> str:
    """Say which arguments lead to a folder."""
    return (
        f'data_root={dataset.data_root!r} and data_prefix[{key!r}] say where '
        'it should be'
    )
