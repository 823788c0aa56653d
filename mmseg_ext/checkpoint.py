"""Loading of checkpoints: without running their code, and only if they fit."""

import os
import pickle
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.logging import HistoryBuffer
from mmengine.model import BaseTTAModel, is_model_wrapper
from mmengine.runner.checkpoint import CheckpointLoader
from torch import nn

__all__ = [
    'CheckpointError',
    'allow_mmengine_checkpoints',
    'check_checkpoint',
    'existing_checkpoint',
    'guard_checkpoint_loaders',
    'load_from_local',
    'read_checkpoint',
    'weights_only',
]

#: The module of NumPy's functions that pickles name, in NumPy 1 and 2.
_NUMPY_MODULES = ('numpy.core.multiarray', 'numpy._core.multiarray')

#: Element types of the arrays in mmengine's message hub.
_DTYPES = ('f8', 'f4', 'f2', 'i8', 'i4', 'i2', 'i1', 'u1', '?')

#: The methods that a history buffer keeps references to.
_STATISTICS = ('min', 'max', 'current', 'mean')


class CheckpointError(ValueError, pickle.UnpicklingError):
    """A refusal to load a file, as an error of torch's own kind, too."""


def allow_mmengine_checkpoints() -> None:
    """Make torch's ``weights_only`` loading accept what mmengine saves.

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


def guard_checkpoint_loaders() -> None:
    """Keep mmengine from loading a checkpoint that would run code.

    All that loads a checkpoint in MMEngine, MMSeg and MMDet goes through
    ``CheckpointLoader``, which has a loader for each kind of address. Those of
    upstream leave addresses on the web to ``torch.hub``, which turns
    ``weights_only`` off. Those of the maintained forks turn it off for each
    file that it refuses. Here each gets a guard; local files are read by
    :func:`read_checkpoint`.
    """
    # There is no public list of them.
    for prefix, loader in list(CheckpointLoader._schemes.items()):
        guarded = _guarded(loader) if prefix else load_from_local
        CheckpointLoader.register_scheme(prefix, guarded, force=True)


def load_from_local(filename: str, map_location: Any = None) -> dict[str, Any]:
    """Load a local file as mmengine's function of that name does.

    See :func:`read_checkpoint`. mmengine logs what follows ``load_from_``.
    """
    return read_checkpoint(filename, map_location)


def _guarded(loader: Callable) -> Callable:
    """Return a loader that loads weights only."""

    @wraps(loader)
    def load(*args: Any, **kwargs: Any) -> Any:
        try:
            with weights_only():
                return loader(*args, **kwargs)
        except pickle.UnpicklingError as error:
            source = args[0] if args else kwargs['filename']
            raise CheckpointError(_why_not_loaded(source, error)) from error
        finally:
            # The forks have a list of their own while they load, and what
            # stands in both goes with it.
            allow_mmengine_checkpoints()

    return load


def _history_method(owner: type, name: str) -> Callable:
    """Stand in for ``getattr``, by which pickles name a class's methods.

    Raises:
        UnpicklingError: Anything else than a statistic of ``HistoryBuffer``
            is asked for.
    """
    if owner is HistoryBuffer and name in _STATISTICS:
        return getattr(HistoryBuffer, name)
    raise pickle.UnpicklingError(
        f'the checkpoint asks for {name!r} of {owner!r}; only the statistics '
        'of HistoryBuffer are allowed'
    )


@contextmanager
def weights_only() -> Iterator[None]:
    """Make ``torch.load`` refuse all but what is allowed, whoever calls it.

    mmengine loads addresses through ``torch.hub``, which turns torch's own
    default off. A user's own setting to the contrary is put aside.
    """
    force, contrary = (
        'TORCH_FORCE_WEIGHTS_ONLY_LOAD',
        'TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD',
    )
    before = {name: os.environ.get(name) for name in (force, contrary)}
    os.environ[force] = '1'
    os.environ.pop(contrary, None)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def existing_checkpoint(path: str | os.PathLike) -> str:
    """Return the path of a checkpoint with ``~`` resolved.

    Raises:
        FileNotFoundError: There is no such file.
    """
    file = Path(path).expanduser()
    if not file.is_file():
        raise FileNotFoundError(
            f'there is no checkpoint file {path}; if it is an address, '
            'download it first'
        )
    return str(file)


def read_checkpoint(
    path: str | os.PathLike, map_location: Any = 'cpu'
) -> dict[str, Any]:
    """Load a checkpoint with ``weights_only``.

    Args:
        path: A file.
        map_location: Where its tensors go, as ``torch.load`` takes it.

    Returns:
        What the file holds: a state dict, or a dict with one.

    Raises:
        FileNotFoundError: There is no such file.
        CheckpointError: The file cannot be loaded or holds objects that are
            not allowed.
        ValueError: It holds no dict.
    """
    path = existing_checkpoint(path)
    try:
        checkpoint = torch.load(
            path, map_location=map_location, weights_only=True
        )
    # Anything may come out of the bytes of a foreign file.
    except Exception as error:
        raise CheckpointError(_why_not_loaded(path, error)) from error
    if not isinstance(checkpoint, dict):
        raise ValueError(
            f'{path} is no checkpoint: expected a dict of weights, found '
            f'{type(checkpoint).__name__}'
        )
    return checkpoint


def _why_not_loaded(path: str | os.PathLike, error: Exception) -> str:
    """Return in one line why torch did not load a file."""
    reason = ' '.join(str(error).split())
    refused = re.search(r"(?:GLOBAL |but got <class ')([\w.]+)", reason)
    if refused:
        return (
            f'{path} is refused: it holds {refused[1]}, which is neither a '
            'tensor nor a plain value nor one of the records that mmengine '
            'writes, and loading it could run code from the file; save the '
            "weights alone with torch.save({'state_dict': ...})"
        )
    # Torch surrounds the reason with general advice.
    reason = re.sub('^.*(trusted source[.]|Unpickler error:) ', '', reason)
    reason = reason.partition(' Check the documentation')[0][:200]
    return (
        f'{path} cannot be loaded; it is truncated, no PyTorch checkpoint, or '
        f'holds what is not allowed ({type(error).__name__}: {reason})'
    )


def check_checkpoint(
    model: nn.Module, path: str | os.PathLike, resume: bool = False
) -> None:
    """Check that a checkpoint fits a model, before anything is run with it.

    mmengine drops parameters of another shape with no more than a warning, so
    that, with another number of classes, the scores are those of a random
    head.

    Args:
        model: The model, wrapped or not.
        path: The file, loaded with ``weights_only``.
        resume: Also ask for the state that resuming a training needs.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: The file cannot be loaded, parameters differ in shape, or
            none belongs to the model.
    """
    checkpoint = read_checkpoint(path)
    absent = [k for k in ('meta', 'message_hub') if k not in checkpoint]
    if resume and absent:
        raise ValueError(
            f'{path} has no {" and no ".join(absent)}, so no training can be '
            'resumed from it; to start from its weights use cfg_options '
            f'load_from={path}'
        )
    inner: Any = model
    while is_model_wrapper(inner) or isinstance(inner, BaseTTAModel):
        inner = inner.module
    own = inner.state_dict()
    # As mmengine does, without the prefix that wrapped models give.
    loaded = {
        key.removeprefix('module.'): value
        for key, value in checkpoint.get('state_dict', checkpoint).items()
        if isinstance(value, torch.Tensor)
    }
    common = [key for key in own if key in loaded]
    if not common:
        raise ValueError(
            f'{path} holds none of the parameters of '
            f'{type(inner).__name__}: it belongs to another model or to a '
            'backbone alone'
        )
    differing = [
        f'{key} {tuple(loaded[key].shape)} and {tuple(own[key].shape)}'
        for key in common
        if loaded[key].shape != own[key].shape
    ]
    if differing:
        raise ValueError(
            f'{path} does not fit the model of the config, such as with '
            'another number of classes; shapes in the file and in the model: '
            + '; '.join(differing)
        )
