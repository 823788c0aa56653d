"""Loading of checkpoints without running code that they carry."""

import pickle
from collections.abc import Callable

import numpy as np
import torch
from mmengine.logging import HistoryBuffer

#: The module of NumPy's functions that pickles name, in NumPy 1 and 2.
_NUMPY_MODULES = ('numpy.core.multiarray', 'numpy._core.multiarray')

#: Element types of the arrays in mmengine's message hub.
_DTYPES = ('f8', 'f4', 'f2', 'i8', 'i4', 'i2', 'i1', 'u1', '?')


def allow_mmengine_checkpoints() -> None:
    """Let torch's ``weights_only`` loading accept what mmengine saves.

    Beside tensors, a checkpoint of mmengine holds the message hub: history
    buffers of NumPy arrays and scalars, and references to the buffers' own
    methods. Exactly these classes, and the functions that rebuild them, are
    put on torch's list of safe globals. Any other object in a checkpoint is
    still refused.
    """
    core = np._core if hasattr(np, '_core') else np.core
    rebuilders = [
        (getattr(core.multiarray, name), f'{module}.{name}')
        for module in _NUMPY_MODULES
        for name in ('_reconstruct', 'scalar')
    ]
    dtypes = {type(np.dtype(code)) for code in _DTYPES}
    torch.serialization.add_safe_globals(
        [
            HistoryBuffer,
            np.ndarray,
            np.dtype,
            *dtypes,
            *rebuilders,
            (_history_method, 'builtins.getattr'),
        ]
    )


def _history_method(owner: type, name: str) -> Callable:
    """Stand in for ``getattr``, by which pickles name a class's methods.

    Raises:
        UnpicklingError: Anything else than a statistic of ``HistoryBuffer``
            is asked for.
    """
    if owner is HistoryBuffer and name in HistoryBuffer._statistics_methods:
        return HistoryBuffer._statistics_methods[name]
    raise pickle.UnpicklingError(
        f'the checkpoint asks for {name!r} of {owner!r}; only the statistics '
        'of HistoryBuffer are allowed'
    )
