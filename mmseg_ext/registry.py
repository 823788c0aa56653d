"""Scope ``mmseg_ext``: models and configs are found by name.

The classes of the package live in the registries of MMSeg and MMDet, under
plain names. The children here are empty: they only make ``mmseg_ext`` a scope
that OpenMMLab's inferencers accept, as in
``MMSegInferencer(NAME, scope='mmseg_ext')``, and fall back to MMSeg for every
class. Once the package is imported, configs anywhere inherit ours by
``_base_ = 'mmseg_ext::FOLDER/NAME.py'``.
"""

import difflib
import importlib.util
from pathlib import Path

from mmengine.config import Config
from mmengine.config.utils import MODULE2PACKAGE
from mmengine.registry import Registry
from mmseg.registry import registry as mmseg_registries

from mmseg_ext.environment import FORKS, stack_of

__all__ = ['CHILDREN', 'SCOPE', 'configs_folder', 'inherit_from_anywhere']

#: The scope under which models and configs are found by name.
SCOPE = 'mmseg_ext'

#: One child for each of MMSeg's registries, ``'DATASETS'`` and so on. The
#: location is the package itself, which registers on import; without one
#: mmengine would call ``mmseg_ext.utils.register_all_modules``.
CHILDREN = {
    name: Registry(parent.name, parent=parent, scope=SCOPE, locations=[SCOPE])
    for name, parent in vars(mmseg_registries).items()
    if isinstance(parent, Registry) and parent.scope == 'mmseg'
}

# Not the distribution's name: the folder of the package has this one.
MODULE2PACKAGE[SCOPE] = SCOPE
if stack_of() == 'onedl':
    # MMEngine's fork itself looks for upstream's distribution, and finds no
    # config of mmseg:: without it.
    MODULE2PACKAGE['mmseg'] = FORKS['mmsegmentation']


def configs_folder() -> Path:
    """Return the folder of our configs: that of a wheel, or of a clone."""
    package = Path(__file__).parent
    installed = package / '.mim' / 'configs'
    return installed if installed.is_dir() else package.parent / 'configs'


def inherit_from_anywhere() -> None:
    """Let configs inherit ours by ``_base_ = 'mmseg_ext::FOLDER/NAME.py'``.

    mmengine would look in what is installed under the name, which a source
    tree or an editable install is not. It would also mark each part with the
    scope, under which the classes of MMDet are not found. For a config of
    another package it would first read all of that package's metafiles.
    """
    upstream = Config._get_cfg_path

    def get_cfg_path(cfg_path: str, filename: str) -> tuple[str, str | None]:
        package, _, name = cfg_path.partition('::')
        if package != SCOPE or not name:
            found = _installed_config(package, name)
            return (found, package) if found else upstream(cfg_path, filename)
        root = configs_folder()
        if not (root / name).is_file():
            names = [
                c.relative_to(root).as_posix() for c in root.rglob('*.py')
            ]
            close = difflib.get_close_matches(name, names)
            raise FileNotFoundError(
                f'there is no config {cfg_path}, expected a file in {root}'
                + (f'; close: {", ".join(close)}' if close else '')
            )
        return str(root / name), None

    Config._get_cfg_path = staticmethod(get_cfg_path)


def _installed_config(package: str, name: str) -> str | None:
    """Return a config that another package brings along, where it lies."""
    if not name or package not in MODULE2PACKAGE:
        return None
    spec = importlib.util.find_spec(package)
    if spec is None or spec.origin is None:
        return None
    path = Path(spec.origin).parent / '.mim' / 'configs' / name
    return str(path) if path.is_file() else None


inherit_from_anywhere()
