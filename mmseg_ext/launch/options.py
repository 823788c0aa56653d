"""Options that stand for several keys, and keys that are used up.

The names at the top of a config, such as ``crop_size``, are used up when it is
read: what is built has copies of their values. So five of them are options of
our commands, whatever the config calls its own: each sets the keys that are
built, in configs of MMSeg and of MMDet::

    --cfg-options crop_size=320,320 num_classes=5 max_iters=200 batch_size=4
    --cfg-options data_root=data/potholes

Upstream's tools (``mim train mmseg CONFIG --cfg-options ...``) merge options
as they are: there ``crop_size=320,320`` changes nothing, and each key has to
be given, such as ``train_dataloader.dataset.pipeline.3.crop_size=320,320``.
"""

import ast
import inspect
import math
import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from mmengine.config import Config
from mmengine.runner import Runner

from mmseg_ext.launch.errors import entries, type_name
from mmseg_ext.utils.arguments import is_integer, is_number, require
from mmseg_ext.utils.text import listing

__all__ = [
    'OPTIONS',
    'check_class_weights',
    'is_read',
    'set_options',
    'stale_names',
    'used_up_keys',
]

#: Entries of configs that are read beside the runner's arguments.
_TOP_LEVEL = (
    *('activation_checkpointing', 'auto_scale_lr', 'compile'),
    *('custom_imports', 'efficient_conv_bn_eval', 'runner_type', 'strategy'),
    *('tta_model', 'tta_pipeline'),
)

_RUNNER = frozenset(inspect.signature(Runner.__init__).parameters)

#: The kinds of data of a config.
_MODES = ('train', 'val', 'test')

#: Parts of a model whose classes are not those of the data set: of ImageNet,
#: object or not, and what surrounds the objects.
_OTHER_CLASSES = ('backbone', 'rpn_head', 'semantic_head')

#: Heads whose classes are not those of the data set: of edges, and depth.
_OTHER_HEADS = ('STDCHead', 'VPDDepthHead')

#: Schedulers that end early, by the start of their names: of a warm-up.
_WARM_UPS = ('Linear', 'Constant')

#: At most this part of a short training is warm-up.
_LARGEST_WARM_UP = 0.5

#: So many lines of the log, which are the points of its curves, at least.
_LINES_OF_LOG = 20

#: What schedulers count in iterations, beside where they begin and end.
_COUNTS = ('T_max', 'milestones', 'periods', 'step_size', 'total_steps')


class _Change(NamedTuple):
    """A key that is to be set, in the part of the config that has it."""

    part: str
    """Its key with dots."""

    node: Any
    """The part."""

    name: str
    """The key in it."""

    value: Any

    main: bool = True
    """Whether it is what the option is named after; others follow from it."""

    @property
    def key(self) -> str:
        return f'{self.part}.{self.name}'


def is_read(cfg: Config, key: str) -> bool:
    """Return whether something looks at a key of a config, or at its parts."""
    top = key.partition('.')[0]
    # The runner's own is for models that have none.
    if top == 'data_preprocessor' and top in (cfg.get('model') or {}):
        return False
    return top in _TOP_LEVEL or top in _RUNNER


def set_options(cfg: Config, options: Mapping[str, Any]) -> list[str]:
    """Set the keys that the options of this module stand for.

    Args:
        cfg: It is changed; where it has an entry of an option's name, this,
            too.
        options: As given for ``cfg_options``. Those that are named in
            :data:`OPTIONS` are looked at here; keys that stand among the
            others stay as they are, since they are set to something else.

    Returns:
        A line for each option, with the keys that were set.

    Raises:
        ValueError: A value is no such, or the config has nothing to set.
    """
    lines = []
    for name, option in OPTIONS.items():
        if name not in options:
            continue
        value = option.check(_whole(options[name]))
        # Found before the first is set: parts may stand in several places.
        changes = list(option.find(cfg, value))
        if not any(change.main for change in changes):
            raise ValueError(
                f'{name}={value!r} sets nothing in {cfg.filename}: '
                f'expected {option.sets}'
            )
        changes = [c for c in changes if c.key not in options]
        for change in changes:
            change.node[change.name] = change.value
        if name in cfg:
            cfg[name] = value
        keys = listing([change.key for change in changes], limit=8)
        lines.append(f'{name}={value!r}: set {keys or "nothing else"}')
    return lines


def stale_names(
    cfg: Config, path: Path, options: Mapping[str, Any]
) -> Iterator[str]:
    """Yield a line for each name whose value in a config is not what is built.

    Such as ``max_iters = 300`` in a config that inherits its ``train_cfg``.
    Only the names of :data:`OPTIONS` that the config itself assigns, and only
    of configs that inherit: what a run writes to its work dir has all names
    of its bases, too, as they were left.

    Args:
        cfg: The config as it was read.
        path: Its file.
        options: As given for ``cfg_options``; these names are set by them.
    """
    for name in _assigned(path):
        if name not in OPTIONS or name in options or name not in cfg:
            continue
        option, value = OPTIONS[name], cfg[name]
        try:
            # Whether its folder is there does not matter.
            if name != 'data_root':
                value = option.check(value)
            changes = list(option.find(cfg, value))
        # The name means something else there.
        except ValueError:
            continue
        main = [change for change in changes if change.main]
        stale = [c for c in main if not _same(c.node.get(c.name), c)]
        # Sets of several sources have several roots.
        if stale and (name != 'data_root' or stale == main):
            first = stale[0]
            yield (
                f'{path} assigns {name} = {value!r}, but {first.key} is '
                f'{first.node.get(first.name)!r}; assign '
                f'{listing([change.key for change in stale])} in it, too, or '
                f'give the option {name}={_typed(value)}'
            )


def used_up_keys(cfg: Config, options: Mapping[str, Any]) -> Iterator[str]:
    """Yield a line for each option that changes nothing.

    The config has the key, but only to take its value from it. The line names
    the keys that have the value.

    Args:
        cfg: The config before it is changed.
        options: As given for ``cfg_options``.
    """
    for key, value in options.items():
        top, _, rest = key.partition('.')
        if (
            top not in cfg
            or is_read(cfg, key)
            or (not rest and top in OPTIONS)
        ):
            continue
        real = listing(_copies(cfg, key))
        yield (
            f'{key} is used up when the config is read, so '
            f'{key}={_typed(value)} changes nothing'
            + (f'; set {real}' if real else '')
        )


def check_class_weights(cfg: Config) -> None:
    """Check that lists of class weights fit the number of classes.

    Raises:
        ValueError: A head has a list of another length.
    """
    for part, node, name in _heads(cfg):
        classes = node[name]
        for key, weights in entries(node, part):
            if not key.endswith('.class_weight'):
                continue
            # Heads of queries and of boxes have one for the background.
            if isinstance(weights, (list, tuple)) and (
                len(weights) not in (classes, classes + 1)
            ):
                raise ValueError(
                    f'num_classes={classes} does not fit {key}, which has '
                    f'{len(weights)} numbers: give it, too, such as '
                    f'{key}={",".join(["1"] * min(classes, 3))}'
                    + (',...' if classes > 3 else '')
                )


# The five options: what they take, and what they set.


def _pair(value: Any) -> tuple[int, int]:
    """Check the height and width of crops, or one number for both."""
    pair = (value, value) if is_integer(value) else value
    require(
        'crop_size',
        value,
        isinstance(pair, (list, tuple))
        and len(pair) == 2
        and all(is_integer(side, 1) for side in pair),
        'HEIGHT,WIDTH or one number for both, in pixels',
    )
    return (pair[0], pair[1])


def _whole(value: Any) -> Any:
    """Return 1000 for 1e3, which is a float."""
    whole = isinstance(value, float) and value.is_integer()
    return int(value) if whole else value


def _count(name: str) -> Callable[[Any], int]:
    """Return a check of a number of something."""

    def check(value: Any) -> int:
        require(name, value, is_integer(value, 1), 'an integer from 1 on')
        return int(value)

    return check


def _folder(value: Any) -> str:
    """Check a folder of data; addresses are left to mmengine."""
    folder = os.path.expanduser(value) if isinstance(value, str) else ''
    require(
        'data_root',
        value,
        '://' in folder or os.path.isdir(folder),
        'a folder that is there',
    )
    return folder


def _crop_changes(cfg: Config, size: tuple[int, int]) -> Iterator[_Change]:
    """Yield what crops of a size need."""
    for part, node in _train_steps(cfg):
        if _crops_pixels(node):
            # MMDet's has a width, then a height.
            turned = cfg.get('default_scope') == 'mmdet'
            order = size[::-1] if turned else size
            yield _Change(part, node, 'crop_size', order)
    model = cfg.get('model') or {}
    before = model.get('data_preprocessor') or {}
    # One of both is needed.
    if before.get('size') or (
        type_name(before) == 'SegDataPreProcessor'
        and not before.get('size_divisor')
    ):
        yield _Change('model.data_preprocessor', before, 'size', size)
    test = model.get('test_cfg') or {}
    if test.get('mode') == 'slide' and 'crop_size' in test:
        old = _sides(test['crop_size'])
        steps = _sides(test.get('stride', old))
        stride = tuple(
            max(1, round(step * new / was))
            for step, new, was in zip(steps, size, old, strict=True)
        )
        for name, value in (('crop_size', size), ('stride', stride)):
            yield _Change('model.test_cfg', test, name, value, False)


def _class_changes(cfg: Config, classes: int) -> Iterator[_Change]:
    """Yield what another number of classes needs."""
    for part, node, name in _heads(cfg):
        old = node[name]
        yield _Change(part, node, name, classes)
        # One channel for two classes, or as many as there were.
        if node.get('out_channels') in (1, old):
            yield _Change(part, node, 'out_channels', None, False)
        for inner, loss in _dicts(node, part):
            resized = _resized(loss.get('class_weight'), old, classes)
            if resized and classes != old:
                yield _Change(inner, loss, 'class_weight', resized, False)


def _resized(weights: Any, old: int, new: int) -> list[float] | None:
    """Return class weights that are all the same for more or less classes."""
    if not isinstance(weights, (list, tuple)) or len(weights) < old:
        return None
    same, rest = weights[:old], weights[old:]
    return [same[0]] * new + [*rest] if len({*same}) == 1 else None


def _length_changes(cfg: Config, iters: int) -> Iterator[_Change]:
    """Yield what a training of so many iterations needs."""
    loop = cfg.get('train_cfg') or {}
    if loop and not loop.get('max_iters'):
        raise ValueError(
            f'max_iters={iters}: {cfg.filename} trains by epochs; set '
            'train_cfg.max_epochs instead'
        )
    if not loop:
        return
    old = loop['max_iters']
    yield _Change('train_cfg', loop, 'max_iters', iters)
    yield from _scheduler_changes(cfg, old, iters)
    hooks = cfg.get('default_hooks') or {}
    often = max(1, iters // _LINES_OF_LOG)
    for part, node, name, most in (
        ('train_cfg', loop, 'val_interval', iters),
        ('train_cfg', loop, 'val_begin', iters),
        (
            *('default_hooks.checkpoint', hooks.get('checkpoint')),
            *('interval', iters),
        ),
        # Without a line of the log nobody sees the loss.
        ('default_hooks.logger', hooks.get('logger'), 'interval', often),
        # Without a picture nobody sees what was found.
        (
            *('default_hooks.visualization', hooks.get('visualization')),
            *('interval', iters),
        ),
    ):
        # mmengine's CheckpointHook counts epochs unless told otherwise.
        by_epoch = name == 'interval' and part.endswith('checkpoint')
        if not node or node.get('by_epoch', by_epoch):
            continue
        if is_number(node.get(name), most + 1):
            yield _Change(part, node, name, most, False)


def _scheduler_changes(cfg: Config, old: int, new: int) -> Iterator[_Change]:
    """Yield where schedulers that count iterations begin and end then.

    They keep their share of the training, but for a warm-up.
    """
    parts = [
        (part, node)
        for part, node in _dicts(cfg.get('param_scheduler'), 'param_scheduler')
        if node.get('by_epoch') is False
    ]
    warm_ups = {
        node.get('end')
        for _, node in parts
        if type_name(node).startswith(_WARM_UPS)
        and not node.get('begin')
        and is_number(node.get('end'), 1, old - 1)
    }

    def scaled(point: int) -> int:
        if point in warm_ups:
            return max(1, min(point, math.floor(new * _LARGEST_WARM_UP)))
        return max(1, round(point * new / old)) if point else 0

    for part, node in parts:
        begin = scaled(node.get('begin', 0))
        was = node.get('end')
        end = max(begin + 1, scaled(was)) if is_number(was) else None
        changed: dict[str, Any] = {'begin': begin, 'end': end}
        for name in _COUNTS:
            value = node.get(name)
            if isinstance(value, (list, tuple)):
                changed[name] = sorted({scaled(point) for point in value})
            elif is_number(value):
                changed[name] = scaled(value)
        if end and node.get('T_max') == was - node.get('begin', 0):
            changed['T_max'] = end - begin
        for name, value in changed.items():
            if name in node and not _equal(node[name], value):
                yield _Change(part, node, name, value, False)


def _batch_changes(cfg: Config, size: int) -> Iterator[_Change]:
    """Yield where the size of a batch stands; samplers may draw whole ones."""
    loader = cfg.get('train_dataloader')
    if not loader:
        return
    yield _Change('train_dataloader', loader, 'batch_size', size)
    sampler = loader.get('sampler') or {}
    if 'batch_size' in sampler:
        part = 'train_dataloader.sampler'
        yield _Change(part, sampler, 'batch_size', size, False)


def _root_changes(cfg: Config, root: str) -> Iterator[_Change]:
    """Yield where data is said to lie; what lay below a root stays below."""
    sets = [
        (part, node)
        for mode in _MODES
        for part, node in _data_sets(
            cfg.get(f'{mode}_dataloader'), f'{mode}_dataloader'
        )
        if isinstance(node.get('data_root'), str)
    ]
    # The first is the whole, of which others may be parts.
    roots = list(dict.fromkeys(node['data_root'] for _, node in sets))
    for part, node in sets:
        below = _moved(node['data_root'], roots[:1], root) or root
        yield _Change(part, node, 'data_root', below)
    evaluators = [f'{mode}_evaluator' for mode in _MODES]
    for top in (*(f'{mode}_dataloader' for mode in _MODES), *evaluators):
        for part, node in _dicts(cfg.get(top), top):
            for name, value in node.items():
                moved = _moved(value, roots, root)
                if moved and name != 'data_root':
                    yield _Change(part, node, name, moved, False)


def _moved(path: Any, roots: list[str], root: str) -> str | None:
    """Return where a path lies that was in one of some folders, or None."""
    for old in roots if isinstance(path, str) else ():
        folder = f'{old.rstrip("/")}/'
        if old and f'{path}/'.startswith(folder):
            rest = path[len(folder) :]
            return os.path.join(root, rest) if rest else root
    return None


class _Option(NamedTuple):
    """An option that stands for several keys."""

    check: Callable[[Any], Any]
    """Raises ValueError, or returns the value in the form that is set."""

    find: Callable[[Config, Any], Iterator[_Change]]
    """Yields what it sets in a config."""

    sets: str
    """What a config has to have, in words."""


#: The options by name.
OPTIONS = {
    'crop_size': _Option(
        _pair,
        _crop_changes,
        'a transform with crop_size in the training, or a preprocessor of '
        'the model with size',
    ),
    'num_classes': _Option(
        _count('num_classes'), _class_changes, 'a head with num_classes'
    ),
    'max_iters': _Option(
        _count('max_iters'), _length_changes, 'a train_cfg with max_iters'
    ),
    'batch_size': _Option(
        _count('batch_size'), _batch_changes, 'a train_dataloader'
    ),
    'data_root': _Option(_folder, _root_changes, 'data sets with data_root'),
}


# Looking into configs.


def _dicts(node: Any, path: str) -> Iterator[tuple[str, Any]]:
    """Yield a part of a config and all parts in it, with their keys."""
    if isinstance(node, dict):
        yield path, node
    for key, inner in entries(node, path):
        if isinstance(inner, dict):
            yield key, inner


def _data_sets(node: Any, path: str) -> Iterator[tuple[str, Any]]:
    """Yield data sets and their wrappers, with their keys."""
    if not isinstance(node, dict):
        return
    yield path, node
    yield from _data_sets(node.get('dataset'), f'{path}.dataset')
    for index, inner in enumerate(node.get('datasets') or ()):
        yield from _data_sets(inner, f'{path}.datasets.{index}')


def _train_steps(cfg: Config) -> Iterator[tuple[str, Any]]:
    """Yield the transforms of the training, those in others, too."""
    name = 'train_dataloader'
    for path, node in _data_sets(cfg.get(name), name):
        yield from _dicts(node.get('pipeline'), f'{path}.pipeline')


def _heads(cfg: Config) -> Iterator[tuple[str, Any, str]]:
    """Yield the parts of a model that predict the classes of its data set.

    Those of panoptic nets count things and stuff; without stuff they predict
    objects.
    """
    for path, node in _dicts(cfg.get('model'), 'model'):
        objects = node.get('num_stuff_classes') == 0
        name = 'num_things_classes' if objects else 'num_classes'
        if (
            is_integer(node.get(name))
            and type_name(node) not in _OTHER_HEADS
            and not any(part in _OTHER_CLASSES for part in path.split('.'))
        ):
            yield path, node, name


def _crops_pixels(step: Any) -> bool:
    """Return whether a transform cuts out crops of one size in pixels."""
    sides = step.get('crop_size')
    sides = sides if isinstance(sides, (list, tuple)) else [sides]
    return step.get('crop_type', 'absolute') == 'absolute' and all(
        is_integer(side) for side in sides
    )


def _sides(size: Any) -> tuple[int, int]:
    """Return height and width of what may be one number."""
    return (size, size) if is_integer(size) else (size[0], size[1])


def _same(value: Any, change: _Change) -> bool:
    """Return whether a key has the value already that it would be given."""
    if isinstance(change.value, tuple) and is_integer(value):
        value = _sides(value)
    if change.name == 'data_root' and isinstance(value, str):
        return os.path.normpath(value) == os.path.normpath(change.value)
    return _equal(value, change.value)


def _equal(one: Any, other: Any) -> bool:
    """Compare values; a list and a tuple may be the same."""
    if isinstance(one, (list, tuple)) and isinstance(other, (list, tuple)):
        return len(one) == len(other) and all(map(_equal, one, other))
    return type(one) is type(other) and bool(one == other)


def _assigned(path: Path) -> list[str]:
    """Return the names that a config assigns beside those of its bases."""
    if path.suffix != '.py':
        return []
    body = ast.parse(path.read_bytes(), str(path)).body
    names = [
        target.id
        for line in body
        if isinstance(line, ast.Assign)
        for target in line.targets
        if isinstance(target, ast.Name)
    ]
    # Those of MMEngine's new style inherit by ``with read_base():``.
    inherits = '_base_' in names or any(isinstance(n, ast.With) for n in body)
    return names if inherits else []


def _copies(cfg: Config, key: str) -> list[str]:
    """Return the keys that have the value of a key that is used up."""
    found = dict(entries(cfg.to_dict()))
    top, _, rest = key.partition('.')
    read = {name: value for name, value in found.items() if is_read(cfg, name)}
    if rest:
        # Copies of the whole, such as of a pipeline.
        whole = [n for n, v in read.items() if _equal(v, found[top])]
        if whole:
            return [f'{name}.{rest}' for name in whole]
    if key not in found:
        return []
    copies = [n for n, v in read.items() if _equal(v, found[key])]
    last = key.rpartition('.')[2]
    named = [name for name in copies if name.rpartition('.')[2] == last]
    # A number such as 1 means nothing, a None even less.
    telling = isinstance(found[key], (str, list, tuple, dict))
    return named or (copies if telling or is_number(found[key], 2) else [])


def _typed(value: Any) -> str:
    """Return a value as a user gives it on a command line."""
    if isinstance(value, (list, tuple)):
        return ','.join(map(str, value))
    return str(value)
