"""Loading of checkpoints: without running their code, and only if they fit."""

import os
import pickle
import re
import socket
import traceback
import zipfile
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import wraps
from http.client import HTTPException
from pathlib import Path
from typing import Any, NamedTuple
from urllib.error import URLError
from urllib.parse import urlparse

import mmengine.runner.checkpoint
import torch
from mmengine.model import BaseTTAModel, is_model_wrapper
from mmengine.runner.checkpoint import CheckpointLoader
from torch import nn

from mmseg_ext.unpickling import (
    allow_mmengine_checkpoints,
    without_torch_records,
)
from mmseg_ext.utils.text import listing

__all__ = [
    'AddressError',
    'CheckpointError',
    'check_checkpoint',
    'check_start',
    'existing_checkpoint',
    'find_checkpoint',
    'guard_checkpoint_loaders',
    'load_from_local',
    'newest_checkpoint',
    'read_checkpoint',
    'weights_only',
]

#: What a training goes on with, each a dict, and what that has to hold.
_RESUMED = ('meta', 'message_hub', 'optimizer')
_COUNTERS = ('epoch', 'iter')
_HUB = ('log_scalars', 'runtime_info', 'resumed_keys')

#: Names of modules that take part in training alone: MMSeg's
#: ``auxiliary_head``, torchvision's ``aux_classifier`` and our heads'
#: ``auxiliary_*``.
_TRAINING_ONLY = re.compile(r'(?:^|[.])(?:auxiliary_|aux_classifier[.])')

#: Buffers that are learned. What others hold, the constructor computes.
_STATISTICS = ('.running_mean', '.running_var')

#: What comes out of the attempt to fetch something.
_UNREACHABLE = (OSError, HTTPException)

#: How long an address may be silent, in seconds. Python would wait as long as
#: the system, minutes for each try.
_PATIENCE = 30

#: The file in which mmengine notes the last checkpoint.
_RECORD = 'last_checkpoint'

#: The names that mmengine gives checkpoints.
_NUMBERED = re.compile(r'(?:iter|epoch)_(\d+)[.]pth')


class CheckpointError(ValueError, pickle.UnpicklingError):
    """A refusal to load a file, as an error of torch's own kind, too."""


class AddressError(CheckpointError, URLError):
    """An address that cannot be reached, which upstream tells by OSError.

    Args:
        text: What is said.
    """

    def __init__(self, text: str) -> None:
        URLError.__init__(self, text)

    def __str__(self) -> str:
        return str(self.reason)


def guard_checkpoint_loaders() -> None:
    """Keep mmengine from loading a checkpoint that would run code.

    All that loads a checkpoint in MMEngine, MMSeg and MMDet goes through
    ``CheckpointLoader``, which has a loader for each kind of address. Those of
    upstream leave addresses on the web to ``torch.hub``, which turns
    ``weights_only`` off. Those of the maintained forks turn it off for each
    file that it refuses. Here each gets a guard; local files are read by
    :func:`read_checkpoint`.
    """
    # What the forks allow while they load, ``getattr`` among it, lets a file
    # run code after all; what stands on torch's list already is enough.
    upstream = mmengine.runner.checkpoint
    if hasattr(upstream, 'get_torch_safe_globals'):
        upstream.get_torch_safe_globals = list
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
        source = args[0] if args else kwargs['filename']
        try:
            with weights_only(), _limited_wait():
                loaded = loader(*args, **kwargs)
        except (pickle.UnpicklingError, *_UNREACHABLE) as error:
            raise _not_loaded(source, error) from error
        return _checked(source, loaded)

    return load


@contextmanager
def _limited_wait() -> Iterator[None]:
    """Limit how long an address may be silent; a user's limit stays."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(_PATIENCE if before is None else before)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)


@contextmanager
def weights_only() -> Iterator[None]:
    """Make ``torch.load`` refuse all but what is allowed, whoever calls it.

    mmengine loads addresses through ``torch.hub``, which turns torch's own
    default off. A user's own setting to the contrary is put aside. What may be
    loaded is what :func:`~mmseg_ext.unpickling.allow_mmengine_checkpoints`
    says, and what a user allows besides.
    """
    force, contrary = (
        'TORCH_FORCE_WEIGHTS_ONLY_LOAD',
        'TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD',
    )
    before = {name: os.environ.get(name) for name in (force, contrary)}
    os.environ[force] = '1'
    os.environ.pop(contrary, None)
    # Something else may have changed torch's list.
    allow_mmengine_checkpoints()
    try:
        with without_torch_records():
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
        What the file holds: a state dict, or a dict with one. The text of a
        config in its ``meta`` is left out: mmengine would run it.

    Raises:
        FileNotFoundError: There is no such file.
        CheckpointError: The file cannot be loaded or holds objects that are
            not allowed.
        ValueError: It holds no dict, or what mmengine's checkpoints have in
            another form.
    """
    path = existing_checkpoint(path)
    try:
        _check_sums(path)
        with weights_only():
            checkpoint = torch.load(
                path, map_location=map_location, weights_only=True
            )
    # Anything may come out of the bytes of a foreign file.
    except Exception as error:
        raise _not_loaded(path, error) from error
    return _checked(path, checkpoint)


def _check_sums(path: str) -> None:
    """Check the sums in a zip file, as torch writes and does not read them.

    Raises:
        CheckpointError: A part of the file is damaged.
    """
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as file:
            damaged = file.testzip()
        if damaged:
            raise CheckpointError(f'the sum of {damaged} is wrong')


def _checked(source: str, checkpoint: Any) -> dict[str, Any]:
    """Return what was loaded, as :func:`read_checkpoint` does."""
    problem = _problem(checkpoint)
    if problem:
        raise ValueError(f'{source} is no checkpoint: {problem}')
    # Runner.resume takes it from there, and a config is code. mmengine itself
    # saves the text as ``cfg``.
    checkpoint.get('meta', {}).pop('config', None)
    return checkpoint


def _problem(checkpoint: Any) -> str | None:
    """Return what is wrong with the form of what was loaded, if anything."""
    if not isinstance(checkpoint, dict):
        return f'expected a dict of weights, found {_kind(checkpoint)}'
    weights = checkpoint.get('state_dict', checkpoint)
    if not isinstance(weights, dict):
        return f'expected a dict of weights, found {_kind(weights)}'
    for key, value in weights.items():
        if not isinstance(key, str):
            return f'expected the names of weights, found {key!r:.40}'
        if weights is checkpoint or key.endswith('_extra_state'):
            continue
        if not isinstance(value, torch.Tensor):
            return f'expected a tensor as {key}, found {_kind(value)}'
    meta = checkpoint.get('meta', {})
    if not isinstance(meta, dict):
        return f'expected a dict as meta, found {_kind(meta)}'
    data_set = meta.get('dataset_meta', {})
    if not isinstance(data_set, dict):
        return f'expected a dict as dataset_meta, found {_kind(data_set)}'
    classes = data_set.get('classes', ())
    if not isinstance(classes, (list, tuple)) or not all(
        isinstance(name, str) for name in classes
    ):
        return f'expected names as dataset_meta.classes, found {classes!r:.40}'
    return None


def _kind(value: Any) -> str:
    """Return the name of the type of a value."""
    return type(value).__name__


def _not_loaded(
    source: str | os.PathLike, error: Exception
) -> CheckpointError:
    """Return the error for a file or an address that was not loaded."""
    away = '://' in str(source) and isinstance(error, _UNREACHABLE)
    kind = AddressError if away else CheckpointError
    return kind(_why_not_loaded(source, error))


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
    # No network, or no package that knows such addresses.
    if '://' in str(path) and isinstance(error, (*_UNREACHABLE, ImportError)):
        return _why_not_fetched(str(path), error, reason)
    return (
        f'{path} cannot be loaded; it is truncated, no PyTorch checkpoint, or '
        f'holds what is not allowed ({type(error).__name__}: {reason})'
    )


def _why_not_fetched(source: str, error: Exception, reason: str) -> str:
    """Return in one line what was to be fetched, and where it may lie."""
    addresses = [
        frame.f_locals['filename']
        for frame, _ in traceback.walk_tb(error.__traceback__)
        if frame.f_code.co_name == 'load_from_http'
    ]
    mend = (
        'a training goes without it by cfg_options runner_type=OfflineRunner'
    )
    if not addresses:
        return (
            f'{source} cannot be loaded ({type(error).__name__}: {reason}); '
            f'download it and give the file instead; {mend}'
        )
    # What names of a collection stand for.
    address = addresses[-1]
    origin = '' if address == source else f' from {address}'
    # As torch.hub names what it has fetched.
    folder = os.path.join(torch.hub.get_dir(), 'checkpoints')
    name = os.path.basename(urlparse(address).path)
    return (
        f'{source} cannot be loaded{origin} ({type(error).__name__}: '
        f'{reason}); put the file into {folder} as {name}; {mend}'
    )


def check_checkpoint(
    model: nn.Module,
    path: str | os.PathLike,
    resume: bool = False,
    parts: Sequence[str] = (),
) -> dict[str, Any]:
    """Check that a checkpoint fits a model, before anything is run with it.

    mmengine leaves out parameters of another shape, and goes without those
    that a file lacks, with no more than a warning, so that the scores are
    those of a random model. Here neither passes. What does: the weights of
    modules that are used in training alone, and buffers that the constructor
    computes, unless a training is to be resumed.

    The weights are in the model afterwards.

    Args:
        model: The model, wrapped or not.
        path: The file, loaded with ``weights_only``, or an address that
            mmengine knows.
        resume: Also ask for all that resuming a training needs.
        parts: What else resuming needs, such as ``'param_schedulers'``.

    Returns:
        What the file holds.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: The file cannot be loaded, or parameters differ in shape
            or are missing. If a training is to be resumed, it names the
            newest checkpoint beside it from which one can; for a damaged one
            the newest earlier, or the newest with weights.
    """
    try:
        checkpoint = _load(str(path))
    except CheckpointError as error:
        hint = _earlier(path) if resume else ''
        raise type(error)(f'{error}{hint}') from error
    if resume:
        _check_resumable(path, checkpoint, parts)
    fit = _load_weights(model, path, checkpoint)
    if fit.differing:
        raise ValueError(
            f'{path} does not fit the model of the config, such as with '
            'another number of classes; shapes in the file and in the model: '
            + '; '.join(fit.differing)
        )
    needed = fit.own if resume else list(filter(fit.is_used, fit.own))
    missing = [key for key in needed if key in fit.missing]
    if missing:
        raise ValueError(
            f'{path} lacks {len(missing)} of the {len(needed)} parameters of '
            f'the model, which would be random: {listing(missing)}; expected '
            'a checkpoint of the whole model of the config'
        )
    return checkpoint


def _earlier(path: str | os.PathLike) -> str:
    """Return what to go on with if a checkpoint is damaged, as a clause."""
    if whole := newest_checkpoint(path):
        return (
            f'; the newest earlier one that can be loaded is {whole}, to go '
            f'on from there give resume={whole}'
        )
    if weights := newest_checkpoint(path, whole=False):
        return (
            '; no earlier one has the state of the optimizer; to start from '
            f'the weights of the newest use cfg_options load_from={weights}'
        )
    return ''


def check_start(model: nn.Module, source: str) -> str:
    """Check what a training starts from, mmengine's ``load_from``.

    That may be a part of the model, such as a backbone, or have another number
    of classes.

    Args:
        model: The model, wrapped or not. The weights are in it afterwards.
        source: A file, or an address that mmengine knows.

    Returns:
        A line that says how many parameters stay as initialized, and which.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It cannot be loaded, or holds nothing of the model.
    """
    fit = _load_weights(model, source, _load(source))
    needed = list(filter(fit.is_needed, fit.own))
    stay = [key for key in needed if key in fit.missing]
    if not stay:
        return f'starting from {source}, which has all parameters'
    return (
        f'starting from {source}: {len(stay)} of {len(needed)} parameters '
        'are not there, or have another shape, and stay as initialized: '
        + listing(stay)
    )


def _load(source: str) -> dict[str, Any]:
    """Load a file or an address; see :func:`read_checkpoint`."""
    try:
        return CheckpointLoader.load_checkpoint(source, 'cpu', 'silent')
    except (FileNotFoundError, ValueError):
        raise
    # Of an address, anything from a missing package to a lost connection.
    except Exception as error:
        raise _not_loaded(source, error) from error


class _Fit(NamedTuple):
    """What a model got from a checkpoint."""

    own: list[str]
    """Names of all that the model would save."""

    parameters: set[str]
    """Those of its parameters."""

    missing: set[str]
    """Names of what it did not get."""

    differing: list[str]
    """Names and shapes of what it did not get because of the shape."""

    def is_needed(self, key: str) -> bool:
        """Whether a value is learned."""
        return key in self.parameters or key.endswith(_STATISTICS)

    def is_used(self, key: str) -> bool:
        """Whether a value is learned and used in inference."""
        return self.is_needed(key) and not _TRAINING_ONLY.search(key)


def _load_weights(
    model: nn.Module, source: str | os.PathLike, checkpoint: dict[str, Any]
) -> _Fit:
    """Load weights as mmengine does; what does not fit is left out.

    Loading shows what is missing, as names do not: modules know the names of
    earlier versions, and a semi-supervised detector those of a plain one.

    Raises:
        ValueError: They cannot be loaded, or none belongs to the model.
    """
    inner: Any = model
    while is_model_wrapper(inner) or isinstance(inner, BaseTTAModel):
        inner = inner.module
    own = inner.state_dict()
    weights = checkpoint.get('state_dict', checkpoint)
    # As mmengine does, without the prefix that wrapped models give.
    loaded = {
        key.removeprefix('module.'): value
        for key, value in weights.items()
        if isinstance(value, torch.Tensor)
    }
    differing = [
        key
        for key in own
        if key in loaded and loaded[key].shape != own[key].shape
    ]
    fitting: Any = OrderedDict(
        (key, value) for key, value in loaded.items() if key not in differing
    )
    # By these, modules tell the versions of their names.
    fitting._metadata = getattr(weights, '_metadata', None)
    try:
        missing = set(inner.load_state_dict(fitting, strict=False)[0])
    # Tensors of another layout, wrong versions, and what modules think of it.
    except Exception as error:
        raise ValueError(
            f'{source} cannot be loaded into {_kind(inner)}: '
            f'{" ".join(str(error).split()):.200}'
        ) from error
    parameters = {
        name for name, _ in inner.named_parameters(remove_duplicate=False)
    }
    if parameters and parameters <= missing - {*differing}:
        raise ValueError(
            f'{source} holds none of the parameters of {_kind(inner)}: it '
            'belongs to another model or to a backbone alone'
        )
    return _Fit(
        list(own),
        parameters,
        missing,
        [
            f'{key} {tuple(loaded[key].shape)} and {tuple(own[key].shape)}'
            for key in differing
        ],
    )


def _check_resumable(
    path: str | os.PathLike, checkpoint: dict[str, Any], parts: Sequence[str]
) -> None:
    """Check that a checkpoint holds what mmengine resumes a training with."""
    # A file without the first two is not of mmengine's runner.
    for names in (_RESUMED[:2], (*_RESUMED[2:], *parts)):
        absent = [name for name in names if name not in checkpoint]
        if absent:
            whole = newest_checkpoint(Path(path).with_name(_RECORD))
            hint = f'to go on give resume={whole}, ' if whole else ''
            raise ValueError(
                f'{path} has no {" and no ".join(absent)}, so no training can '
                f'be resumed from it; {hint}to start from its weights use '
                f'cfg_options load_from={path}'
            )
    meta, hub = checkpoint['meta'], checkpoint['message_hub']
    wrong = [k for k in _RESUMED if not isinstance(checkpoint[k], dict)]
    wrong = wrong or [
        *(f'meta.{k}' for k in _COUNTERS if type(meta.get(k)) is not int),
        *(
            f'message_hub.{k}'
            for k in _HUB
            if not isinstance(hub.get(k), dict)
        ),
    ]
    if wrong:
        raise ValueError(
            f'{path}: no training can be resumed from it, since it lacks what '
            f'mmengine saves as {", ".join(wrong)}; to start from its weights '
            f'use cfg_options load_from={path}'
        )


def find_checkpoint(work_dir: str | os.PathLike) -> tuple[str, str] | None:
    """Find the checkpoint from which the training in a work dir goes on.

    It is the one that mmengine's file ``last_checkpoint`` names. A file of
    that name in the work dir comes before the path as it stands there, because
    the work dir may have been moved, renamed or copied. If ``last_checkpoint``
    is not there, is empty or names what is gone, it is the newest whole one of
    the work dir's ``iter_*.pth`` and ``epoch_*.pth``: the one with the highest
    number that can be loaded and has the optimizer's state.

    Returns:
        The path, and a line that says which one it is and why; None if the
        work dir has no checkpoint.

    Raises:
        FileNotFoundError: The one that is named is gone, and there is no
            other.
        ValueError: There are checkpoints, but no whole one.
    """
    folder = Path(work_dir)
    record = folder / _RECORD
    named, reason = '', 'there is no last_checkpoint'
    if record.is_file():
        named = os.fsdecode(record.read_bytes().strip())
        reason = f'last_checkpoint names {named or "none"}'
    for path in (folder / os.path.basename(named), named):
        # Unlike Path.is_file, it has nothing against odd texts.
        if os.path.isfile(path):
            return str(path), f'resuming from {path}'
    numbered = _numbered(folder)
    if not numbered:
        if not named:
            return None
        return existing_checkpoint(named), f'resuming from {named}'
    newest = newest_checkpoint(record)
    if newest is None:
        weights = newest_checkpoint(record, whole=False)
        hint = (
            f'from the weights of the newest with cfg_options '
            f'load_from={weights} and without resume, or '
        )
        raise ValueError(
            f'no checkpoint in {folder} has the state of the optimizer and '
            'can be loaded, of '
            f'{listing([path.name for path in numbered])}; start '
            f'{hint if weights else ""}anew: move them away or take another '
            'work_dir'
        )
    line = f'resuming from {newest}, the newest whole one, since {reason}'
    damaged = [path.name for path in numbered[: numbered.index(newest)]]
    if damaged:
        line += f'; not whole: {listing(damaged)}'
    return str(newest), line


def newest_checkpoint(
    path: str | os.PathLike, whole: bool = True
) -> Path | None:
    """Return the newest checkpoint beside a file that is older than it.

    Args:
        path: A checkpoint, ``iter_<number>.pth`` or ``epoch_<number>.pth``;
            beside a file of another name all count.
        whole: Only one that has all that resuming needs.

    Returns:
        The one with the highest number that can be loaded, if there is one.
    """
    path = Path(path)
    own = _NUMBERED.fullmatch(path.name)
    for found in _numbered(path.parent):
        if found == path or (own and _number(found) >= int(own[1])):
            continue
        with suppress(ValueError, OSError):
            keys = read_checkpoint(found).keys()
            if not whole or keys >= {*_RESUMED}:
                return found
    return None


def _numbered(folder: Path) -> list[Path]:
    """Return a folder's checkpoints that have numbers, the newest first."""
    return sorted(
        (
            path
            for path in folder.glob('*.pth')
            if _NUMBERED.fullmatch(path.name) and path.is_file()
        ),
        key=_number,
        reverse=True,
    )


def _number(path: Path) -> int:
    """Return the number in the name of a checkpoint."""
    return int(path.stem.rpartition('_')[2])
