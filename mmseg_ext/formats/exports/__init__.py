"""What annotators export, both ways, one file a format.

To add a format is to add a module here: :func:`formats` finds it by its class,
one subclass of :class:`~mmseg_ext.formats.exports.export.Export` with ``NAME``
and ``TITLE``. Beside it there is ``write(out, classes, items)``.

- Of masks it is a ``mask_trees.MaskTree``, which needs ``found`` alone: pair
  images with masks by ``mask_trees.by_stem``, read the list of classes with
  ``mask_trees.ClassRows.read``, and return ``cls(...).with_rows(rows)``.
- Of shapes it is a ``shapes.Shapes``, which needs ``found`` and ``shapes``,
  the regions of a picture. ``pictures.find_named`` finds the images that files
  name, ``shapes.classes_of`` gives the classes.
- ``found`` returns None for another format, and raises ``InvalidExportError``
  for this one if it is not right. ``export.split_of`` tells the split by a
  path, and ``export.left_out`` what is not used.
- ``write`` takes what it needs of an item with ``mask_trees.labels_to_write``
  or ``pictures.object_regions``; ``pictures.claim`` refuses two images of one
  name, and ``pictures.place_image`` links or copies one.
"""

import importlib
import pkgutil
from functools import cache
from types import ModuleType

from mmseg_ext.formats.exports.export import Export

__all__ = ['format_of', 'formats']


@cache
def formats() -> dict[str, ModuleType]:
    """Return the modules of all formats by their names, sorted."""
    found = {}
    for info in pkgutil.iter_modules(__path__, f'{__name__}.'):
        module = importlib.import_module(info.name)
        for kind in vars(module).values():
            if _is_format(kind) and kind.__module__ == info.name:
                found[kind.NAME] = module
    return dict(sorted(found.items()))


def format_of(module: ModuleType) -> type[Export]:
    """Return the class of a format's module that reads it."""
    (kind,) = (
        each
        for each in vars(module).values()
        if _is_format(each) and each.__module__ == module.__name__
    )
    return kind


def _is_format(value: object) -> bool:
    return (
        isinstance(value, type)
        and issubclass(value, Export)
        and hasattr(value, 'NAME')
    )
