"""Scope ``mmseg_ext``: models and configs are found by name.

The classes of the package live in the registries of MMSeg and MMDet, under
plain names. The children here are empty: they only make ``mmseg_ext`` a scope
that OpenMMLab's inferencers accept, as in
``MMSegInferencer(NAME, scope='mmseg_ext')``, and fall back to MMSeg for every
class.
"""

from mmengine.config.utils import MODULE2PACKAGE
from mmengine.registry import Registry
from mmseg.registry import registry as mmseg_registries

from mmseg_ext.environment import FORKS, stack_of

__all__ = ['CHILDREN', 'SCOPE']

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

MODULE2PACKAGE[SCOPE] = 'mmseg-ext'
if stack_of() == 'onedl':
    # MMEngine's fork itself looks for upstream's distribution, and finds no
    # config of mmseg:: without it.
    MODULE2PACKAGE['mmseg'] = FORKS['mmsegmentation']
