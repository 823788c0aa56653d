"""All modules of the package."""

import pkgutil
from importlib import import_module


def import_modules():
    """Return the modules of the package and the one beside it, by name."""
    path = import_module('mmseg_ext').__path__
    found = pkgutil.walk_packages(path, 'mmseg_ext.')
    names = ['mmseg_ext', *(info.name for info in found), 'mmseg_ext_cli']
    return {name: import_module(name) for name in names}
