"""What stands in for the names in the pickles that mmengine writes.

A pickle is a program: it names callables, and calls them with what it likes.
Torch's ``weights_only`` loading lets it name those on a list alone. No class
or function of NumPy or mmengine stands there, since each can do more than a
checkpoint needs: ``numpy.ndarray`` makes objects of raw bytes, and
``HistoryBuffer.__setstate__`` changes the class for the whole process. Instead
the names stand for what follows, which takes exactly what mmengine writes.

Whatever a pickle may do, call, instantiate or give a state, comes down to the
methods here. They check when a value is used and not when it is set, so that
it does not matter in which order a pickle does what.
"""

import pickle
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import product
from typing import Any, SupportsIndex

import numpy as np
import torch
from mmengine.logging import HistoryBuffer

__all__ = ['allow_mmengine_checkpoints', 'without_torch_records']

#: The module of NumPy's functions that pickles name, in NumPy 1 and 2.
_NUMPY_MODULES = ('numpy.core.multiarray', 'numpy._core.multiarray')

#: Element types of the arrays in mmengine's message hub.
_DTYPES = ('f8', 'f4', 'f2', 'i8', 'i4', 'i2', 'i1', 'u1', 'b1')

#: Byte orders; ``|`` is that of single bytes.
_ORDERS = ('<', '>', '|')

#: The methods that a history buffer keeps references to.
_STATISTICS = ('min', 'max', 'current', 'mean')

#: What a history buffer is saved as; the last one is the same for all.
_HISTORY = ('max_length', '_log_history', '_count_history')

#: Where torch's own records lie that it allows.
_TORCH_RECORDS = ('torch.distributed.', 'torch.nested.', 'torch._dynamo.')

#: Element type of an array that waits for its content; not in ``_DTYPES``.
_PENDING = 'S1'


def allow_mmengine_checkpoints() -> None:
    """Make torch's ``weights_only`` loading accept what mmengine saves.

    Beside tensors, a checkpoint of mmengine holds the message hub: history
    buffers of NumPy arrays and scalars, and references to the buffers' own
    methods. Their names are put on torch's list of safe globals, for what
    stands in for them: numbers and booleans pass, and what is as large as the
    bytes in the file. Any other object in a checkpoint is still refused.

    What is on the list under one of these names is taken off, since torch
    takes one of two by chance. Loose arrays come out as a subclass of
    ``numpy.ndarray`` that is saved as an ``ndarray``, all else as itself.
    """
    _take_off(lambda name: name in _STAND_INS)
    torch.serialization.add_safe_globals(
        [(stand_in, name) for name, stand_in in _STAND_INS.items()]
    )


@contextmanager
def without_torch_records() -> Iterator[None]:
    """Keep torch's list without the records of its own for a while.

    Those of ``DTensor``, nested tensors and compilation come there with the
    imports of mmengine and others. No checkpoint of mmengine has them, and a
    file that misuses them crashes the process.
    """
    taken = _take_off(lambda name: name.startswith(_TORCH_RECORDS))
    try:
        yield
    finally:
        torch.serialization.add_safe_globals(taken)


def _take_off(unwanted: Callable[[str], bool]) -> list[Any]:
    """Take entries with some names off torch's list and return them."""
    entries = torch.serialization.get_safe_globals()
    taken = [entry for entry in entries if unwanted(_full_name(entry))]
    torch.serialization.clear_safe_globals()
    torch.serialization.add_safe_globals(
        [entry for entry in entries if entry not in taken]
    )
    return taken


def _full_name(entry: Callable | tuple[Callable, str]) -> str:
    """Return the name by which torch finds an entry of its list."""
    if isinstance(entry, tuple):
        return entry[1]
    return f'{entry.__module__}.{entry.__qualname__}'


def _refuse(what: str) -> pickle.UnpicklingError:
    """Return the error of a pickle that does what mmengine's never do."""
    return pickle.UnpicklingError(
        f'the checkpoint holds {what}; only numbers and booleans of NumPy are '
        'allowed, as mmengine writes them'
    )


def _same(given: Any, expected: Any) -> bool:
    """Whether a value from a pickle is this plain value, of the same type.

    No method of the given one is called, which may be anything.
    """
    if type(given) is not type(expected):
        return False
    if type(expected) is tuple:
        return len(given) == len(expected) and all(map(_same, given, expected))
    return bool(given == expected)


class _DType:
    """Stand in for ``numpy.dtype``: a note of what the pickle asked for."""

    __slots__ = ('_args', '_state')

    def __init__(self, *args: Any) -> None:
        self._args, self._state = args, None

    def __setstate__(self, state: Any) -> None:
        self._state = state

    def resolve(self) -> np.dtype:
        """Return the type, if it is allowed."""
        given = self._args[:1], self._state
        for code, order in product(_DTYPES, _ORDERS):
            plain = (3, order, None, None, None, -1, -1, 0)
            if _same(given, ((code,), plain)):
                return np.dtype(order + code)
        raise _refuse('a type of NumPy other than plain numbers')


def _decode(dtype: Any, raw: Any) -> np.ndarray:
    """Return the numbers (N,) that bytes from a pickle stand for."""
    if type(dtype) is not _DType or type(raw) is not bytes:
        raise _refuse('an array or number that is not given as bytes')
    try:
        return np.frombuffer(raw, dtype.resolve())
    except ValueError as error:
        raise _refuse(f'bytes that are no numbers ({error})') from error


def _scalar(dtype: Any, raw: Any) -> Any:
    """Stand in for ``numpy.core.multiarray.scalar``."""
    numbers = _decode(dtype, raw)
    if len(numbers) != 1:
        raise _refuse(f'a scalar of {len(numbers)} numbers')
    return numbers[0]


class _Array(np.ndarray):
    """Stand in for ``numpy.ndarray``; saved as one.

    A pickle can neither call nor instantiate it, gets it from
    :func:`_reconstruct` alone, and can fill it once: a second time would free
    the memory that a tensor may share by then.
    """

    def __new__(cls, *args: Any, **kwargs: Any) -> '_Array':
        raise _refuse('a call of numpy.ndarray')

    def __setstate__(self, state: Any) -> None:
        if self.dtype != _PENDING:
            raise _refuse('an array that is filled twice')
        if (
            type(state) is not tuple
            or len(state) != 5
            or not _same(state[0], 1)
        ):
            raise _refuse('an array in an unknown form')
        _, shape, dtype, fortran, raw = state
        if type(shape) is not tuple or any(
            type(length) is not int or length < 0 for length in shape
        ):
            raise _refuse('an array without a shape')
        try:
            array = _decode(dtype, raw).reshape(
                shape, order='F' if fortran is True else 'C'
            )
        except ValueError as error:
            raise _refuse(f'an array that does not fit ({error})') from error
        # What NumPy itself would have written of this array.
        plain: Any = array.__reduce__()[2]
        super().__setstate__(plain)

    def __reduce_ex__(self, protocol: SupportsIndex) -> Any:
        return self.view(np.ndarray).__reduce_ex__(protocol)


def _reconstruct(cls: Any, shape: Any, code: Any) -> _Array:
    """Stand in for ``numpy.core.multiarray._reconstruct``."""
    if cls is not _Array:
        raise _refuse('an array of an unknown class')
    return np.ndarray.__new__(_Array, (0,), _PENDING)


class _History:
    """Stand in for ``HistoryBuffer``, and become one when it gets its state.

    It takes the state from the file and the statistics, which are those of the
    class, from there: the methods of a buffer are not for a file to choose.
    """

    def __setstate__(self, state: Any) -> None:
        if type(state) is not dict or {*state} - {'statistics_methods'} != {
            *_HISTORY
        }:
            raise _refuse('a HistoryBuffer in an unknown form')
        length, logs, counts = (state[name] for name in _HISTORY)
        if (
            type(length) is not int
            or any(type(a) is not _Array for a in (logs, counts))
            or any(a.ndim != 1 or a.dtype == _PENDING for a in (logs, counts))
            or len(logs) != len(counts)
        ):
            raise _refuse('a HistoryBuffer in an unknown form')
        for name in state:
            if name in _HISTORY:
                value = state[name]
                # Copies: nothing else in the file has a hold on them.
                copied = value if type(value) is int else np.array(value)
                self.__dict__[name] = copied
        self.__class__ = HistoryBuffer
        HistoryBuffer()  # sets the statistics of the class


def _history_method(owner: Any, name: Any) -> str:
    """Stand in for ``getattr``, by which pickles name a class's methods.

    Returns:
        The name: :class:`_History` knows what it stands for.
    """
    if owner is _History and type(name) is str and name in _STATISTICS:
        return name
    raise pickle.UnpicklingError(
        'the checkpoint asks for an attribute by getattr; only the statistics '
        'of HistoryBuffer are allowed'
    )


#: What a pickle gets for each name.
_STAND_INS: dict[str, Callable] = {
    'numpy.dtype': _DType,
    'numpy.ndarray': _Array,
    **{f'{module}._reconstruct': _reconstruct for module in _NUMPY_MODULES},
    **{f'{module}.scalar': _scalar for module in _NUMPY_MODULES},
    f'{HistoryBuffer.__module__}.HistoryBuffer': _History,
    'builtins.getattr': _history_method,
}
