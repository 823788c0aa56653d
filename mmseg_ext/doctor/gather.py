"""One pass over a config and its data."""

import gc
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from inspect import signature
from pathlib import Path
from typing import Any

from mmengine.config import Config, ConfigDict
from mmengine.registry import DATASETS, DefaultScope

from mmseg_ext.doctor.built_model import build_model
from mmseg_ext.doctor.case import Case, Split
from mmseg_ext.doctor.coco_tables import Source, read_coco_tables
from mmseg_ext.doctor.faults import FAULTS
from mmseg_ext.doctor.parts import Part
from mmseg_ext.doctor.pipeline_runs import run_pipelines
from mmseg_ext.doctor.scan import scan_parts
from mmseg_ext.doctor.validation_step import try_validation
from mmseg_ext.formats.color_masks import IGNORE_INDEX
from mmseg_ext.launch.configs import scope_of
from mmseg_ext.launch.data_sets import SPLITS, why_empty
from mmseg_ext.launch.errors import is_empty_set, one_line, why_not_built
from mmseg_ext.launch.noise import Quiet
from mmseg_ext.utils.files import is_special
from mmseg_ext.utils.text import listing

__all__ = ['gather']


def gather(
    cfg: Config,
    splits: Sequence[str] = SPLITS,
    nproc: int = 1,
    sample: int | None = None,
    cache: Path | None = None,
    on_stage: Callable[[str], None] | None = None,
    progress: bool = True,
) -> Case:
    """Gather what checks need to know.

    Args:
        cfg: A config, read.
        splits: Those to look at; the config may lack some.
        nproc: Number of processes that read files.
        sample: At most so many images of each data set are read, spread over
            it; None reads all.
        cache: File with what was read before, which is renewed; None keeps
            nothing.
        on_stage: Called with the name of each stage as it begins.
        progress: Show a progress bar if it takes long.

    Raises:
        OSError: The cache cannot be written.
        ValueError: ``nproc`` is out of range.
    """
    tell = on_stage or (lambda name: None)
    case = Case(cfg, str(cfg.filename or ''))
    with (
        _short_collections(),
        Quiet()(),
        DefaultScope.overwrite_default_scope(scope_of(cfg)),
    ):
        tell('config')
        for name in splits:
            loader = cfg.get(f'{name}_dataloader')
            if isinstance(loader, ConfigDict) and 'dataset' in loader:
                case.splits[name] = _build_split(cfg, name, loader)
        tell('model')
        case.model = build_model(cfg)
        tell('files')
        if not case.semantic:
            _read_coco_files(list(case.parts))
        scan_parts(list(case.parts), nproc, sample, cache, progress)
        tell('pipelines')
        for split in case.splits.values():
            if _is_safe(split):
                split.runs = run_pipelines(split.dataset, split.parts)
        tell('validation')
        for name, split in case.splits.items():
            # Why pycocotools cannot measure, checks of the file tell.
            if any(p.coco and not p.coco.measurable for p in split.parts):
                continue
            if step := try_validation(cfg, name, split.dataset):
                case.validation.append(step)
    return case


@contextmanager
def _short_collections() -> Iterator[None]:
    """Spare what is imported from the collection of garbage.

    MMEngine collects for each data set that is built, half a second each
    among all that PyTorch brings.
    """
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()


def _read_coco_files(parts: Sequence[Part]) -> None:
    """Set the tables of data sets that read COCO files."""
    sources = [Source(part.cfg, part.dataset, part.classes) for part in parts]
    tables = read_coco_tables(sources)
    for part, table in zip(parts, tables, strict=True):
        part.coco = table


def _is_safe(split: Split) -> bool:
    """Tell whether no mask is broken.

    On one that is, pycocotools may never end, or crash.
    """
    return not any(part.coco and part.coco.broken for part in split.parts)


def _build_split(cfg: Config, name: str, loader: ConfigDict) -> Split:
    """Build the data sets of a dataloader, each part by itself."""
    split = Split(name, loader)
    key = f'{split.key}.dataset'
    for place, part in _leaves(loader.dataset, key):
        split.parts.append(_build_part(cfg, Part(name, place, part)))
    if all(part.dataset is not None for part in split.parts):
        whole = Part(name, key, loader.dataset)
        single = split.parts[0].key == key
        split.dataset = (
            split.parts[0] if single else _build_part(cfg, whole)
        ).dataset
        # What wraps data sets may fail by itself.
        if split.dataset is None:
            split.parts.append(whole)
    return split


def _leaves(cfg: Any, key: str) -> Iterator[tuple[str, ConfigDict]]:
    """Yield the configs of data sets without others in them, with keys."""
    if not isinstance(cfg, ConfigDict):
        yield key, ConfigDict()
    elif isinstance(cfg.get('dataset'), ConfigDict):
        yield from _leaves(cfg.dataset, f'{key}.dataset')
    elif cfg.get('datasets'):
        for number, part in enumerate(cfg.datasets):
            yield from _leaves(part, f'{key}.datasets.{number}')
    else:
        yield key, cfg


def _build_part(cfg: Config, part: Part) -> Part:
    """Build a data set, or note why it cannot be."""
    try:
        names = (part.cfg.get(key) for key in ('data_root', 'ann_file'))
        path = os.path.join(*(str(name or '') for name in names))
        if is_special(path := os.path.expanduser(path)):
            raise OSError(f'ann_file {path} is a pipe or device, and no file')
        part.dataset = DATASETS.build(part.cfg)
        if hasattr(part.dataset, 'full_init'):
            part.dataset.full_init()
        part.total = len(part.dataset)
    # Anything may come out of a user's class.
    except FAULTS as error:
        part.dataset = None
        part.missing = getattr(error, 'filename', None)
        part.empty = is_empty_set(error)
        part.fault = (
            f'the data set is empty{why_empty(error)}'
            if part.empty
            else why_not_built(cfg, error, key=part.key) or one_line(error)
        )
        part.fault += _misspelt(part.cfg)
        part.classes = _names(_metainfo(part.cfg))
        return part
    part.empty = not part.total
    part.classes = _names(getattr(part.dataset, 'metainfo', None))
    part.ignore_index = getattr(part.dataset, 'ignore_index', IGNORE_INDEX)
    return part


def _misspelt(cfg: ConfigDict) -> str:
    """Return which keys of ``data_prefix`` a data set does not know."""
    try:
        with DATASETS.switch_scope_and_registry(None) as registry:
            kind = registry.get(cfg['type'])
        known = signature(kind).parameters['data_prefix'].default
        unknown = [key for key in cfg['data_prefix'] if key not in known]
    # It may take any, or have none.
    except FAULTS:
        return ''
    if not unknown:
        return ''
    return (
        f'; data_prefix has {listing(unknown)}: expected {listing([*known])}'
    )


def _metainfo(cfg: ConfigDict) -> Any:
    """Return what is known of the classes of a data set without its files."""
    try:
        with DATASETS.switch_scope_and_registry(None) as registry:
            kind = registry.get(cfg['type'])
        return kind._load_metainfo(dict(cfg.get('metainfo') or {}))
    # It may be of any kind, or of none.
    except FAULTS:
        return None


def _names(info: Any) -> tuple[str, ...]:
    """Return the names of classes in what a data set says of itself."""
    # Data sets that are joined, and differ, have a list.
    classes = info.get('classes') if isinstance(info, Mapping) else None
    return (classes,) if isinstance(classes, str) else tuple(classes or ())
