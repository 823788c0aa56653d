"""Entries of a config by themselves."""

from collections.abc import Iterator

from mmseg_ext.doctor.case import Case
from mmseg_ext.doctor.findings import Code, Finding, Level, check
from mmseg_ext.launch.data_sets import SPLITS

__all__ = ['entries_are_configs']

ENTRY = Code(
    'config-entry',
    Level.ERROR,
    'the run ends before its first iteration',
    'write it as the config of a class, dict(type=...), or None',
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
