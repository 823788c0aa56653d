"""Entries of a config by themselves."""

import os
from collections.abc import Iterator

from mmseg_ext.doctor.case import Case
from mmseg_ext.doctor.findings import Code, Finding, Level, check
from mmseg_ext.launch.data_sets import SPLITS

__all__ = ['classes_are_lists', 'entries_are_configs']

ENTRY = Code(
    'config-entry',
    Level.ERROR,
    'the run ends before its first iteration',
    'write it as the config of a class, dict(type=...), or None',
)

CLASSES = Code(
    'classes-text',
    Level.ERROR,
    'MMDet ends with "classes should be a tuple of str"; elsewhere each '
    'letter is taken for a class, or the text for one',
    "write a single class with a comma, classes=('name',)",
)

#: What a runner takes as one config, and as one or a list of several. Source:
#: MMEngine's ``Runner``.
_ONE = (
    *('model', 'optim_wrapper', 'default_hooks'),
    *(f'{split}_dataloader' for split in SPLITS),
    *(f'{split}_cfg' for split in SPLITS),
)
_SEVERAL = (
    *('param_scheduler', 'custom_hooks'),
    *('val_evaluator', 'test_evaluator'),
)


@check(ENTRY)
def entries_are_configs(case: Case) -> Iterator[Finding]:
    """Yield entries that are no configs."""
    for name in (*_ONE, *_SEVERAL):
        value = case.cfg.get(name)
        kinds = dict if name in _ONE else dict | list | tuple
        if value is not None and not isinstance(value, kinds):
            wanted = 'a dict' if name in _ONE else 'a dict, or a list of some'
            yield ENTRY.found(f'{name}={value!r}: expected {wanted}')


@check(CLASSES)
def classes_are_lists(case: Case) -> Iterator[Finding]:
    """Yield class lists that are one text."""
    for part in case.parts:
        info = part.cfg.get('metainfo')
        classes = info.get('classes') if isinstance(info, dict) else None
        # MMEngine takes the path of a list, too.
        if isinstance(classes, str) and not os.path.isfile(classes):
            yield CLASSES.found(
                f'metainfo.classes={classes!r} is a text',
                part.split,
                mend=f'metainfo=dict(classes=({classes!r},))',
                change={f'{part.key}.metainfo.classes': (classes,)},
            )
