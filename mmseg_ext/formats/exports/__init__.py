"""What annotators export, both ways, one file a format.

A format is a module of this folder with a subclass of
:class:`~mmseg_ext.formats.exports.export.Export`, which reads it, and a
function ``write``, which writes it: :func:`formats` finds them all, so that to
add one is to add a file.
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
