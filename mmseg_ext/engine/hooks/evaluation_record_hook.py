"""Run directories of validations and tests, at no second pass."""

import hashlib
import json
import logging
import os
import shutil
from collections import Counter
from pathlib import Path
from typing import Any

from mmengine.config import Config
from mmengine.dist import is_main_process
from mmengine.evaluator import BaseMetric
from mmengine.hooks import Hook
from mmengine.logging import print_log
from mmengine.model import is_model_wrapper
from mmengine.registry import HOOKS, METRICS
from mmengine.runner import BaseLoop, Runner

from mmseg_ext.engine.label_checks import leaves
from mmseg_ext.formats.run_records import META, map_path
from mmseg_ext.utils.arguments import is_number, require
from mmseg_ext.utils.text import printable

__all__ = ['RECORDS', 'EvaluationRecordHook']

#: Folder of the run directories in the log folder of a run.
RECORDS = 'records'

#: Entries of a config that say where a run works, not what it does.
_PLACES = (
    *('work_dir', 'load_from', 'resume', 'launcher', 'experiment_name'),
    *('custom_hooks', 'visualizer', 'vis_backends'),
    *('env_cfg', 'model_wrapper_cfg'),
)


@HOOKS.register_module(name='EvaluationRecord')
class EvaluationRecordHook(Hook):
    """Hook that keeps what the model made of each image.

    Configs name it ``EvaluationRecord``. Each validation and each test leaves
    a run directory behind, in ``records`` in the log folder of the run:
    ``val_iter_100`` and ``test``, with ``_2`` for the second one of a name.
    ``mmseg-ext report --from`` makes a page of it, and ``mmseg-ext compare``
    compares two. The label maps of a validation are removed when the next one
    has its own; its counts stay.

    The metric ``EvaluationRecord`` of MMSeg or MMDet, whichever the config
    belongs to, is added to the evaluators; it reads predictions and labels as
    the other metrics do. An evaluator that has one already keeps it, with its
    own folder. A detector needs a data set with a COCO file.

    What cannot be recorded is a warning in the log, and does not end the run.

    Args:
        probs: For segmentors, also count how sure the model is. Lean models
            keep their logits for it. It takes a multiple of the time.
        boundary_share: For segmentors, width of a boundary, as a share of an
            image's diagonal.
        out_dir: Where the run directories go, in place of ``records``.
        strict: Whether what cannot be recorded ends the run, with an error.

    Attributes:
        folder: The newest run directory; None where there is none.

    Raises:
        ValueError: An argument is of another type or out of range.
    """

    def __init__(
        self,
        probs: bool = False,
        boundary_share: float = 0.02,
        out_dir: str | os.PathLike[str] | None = None,
        strict: bool = False,
    ) -> None:
        require('probs', probs, isinstance(probs, bool), 'True or False')
        require('strict', strict, isinstance(strict, bool), 'True or False')
        require(
            'boundary_share',
            boundary_share,
            is_number(boundary_share, 0, 1) and boundary_share > 0,
            'a number above 0 and at most 1',
        )
        require(
            'out_dir',
            out_dir,
            out_dir is None
            or (bool(out_dir) and isinstance(out_dir, str | os.PathLike)),
            'a folder or None',
        )
        self.probs = probs
        self.boundary_share = boundary_share
        self.out_dir = out_dir
        self.strict = strict
        self.folder: Path | None = None
        self._own: dict[int, Any] = {}
        self._stages: Counter[str] = Counter()
        self._before: Path | None = None
        self._trains = False

    def before_run(self, runner: Runner) -> None:
        """Fix the folder that everything goes to."""
        root = self.out_dir or Path(runner.log_dir, RECORDS)
        self._root = Path(os.path.abspath(os.path.expanduser(root)))
        self._config_hash = _config_hash(runner.cfg)

    def before_train(self, runner: Runner) -> None:
        """Note that there are iterations to count."""
        self._trains = True

    def before_val(self, runner: Runner) -> None:
        """Choose the folder of this validation."""
        iteration = runner.iter if self._trains else None
        stage = 'val' if iteration is None else f'val_iter_{iteration}'
        self._begin(runner, runner.val_loop, 'val', stage, iteration)

    def before_test(self, runner: Runner) -> None:
        """Choose the folder of this test."""
        self._begin(runner, runner.test_loop, 'test', 'test', None)

    def after_val_epoch(
        self, runner: Runner, metrics: dict[str, float] | None = None
    ) -> None:
        """Remove the label maps of validations before."""
        if self.folder is None or not is_main_process():
            return
        useless: Path | None = self.folder
        if (self.folder / META).is_file():
            useless, self._before = self._before, self.folder
        if useless is not None:
            shutil.rmtree(map_path(useless, 0).parent, ignore_errors=True)

    def _begin(
        self,
        runner: Runner,
        loop: BaseLoop,
        split: str,
        stage: str,
        iteration: int | None,
    ) -> None:
        """Make a loop's evaluator record what comes.

        Args:
            runner: It runs.
            loop: Its loop of the split.
            split: ``'val'`` or ``'test'``.
            stage: Name of the folder.
            iteration: That of a validation.
        """
        self.folder = None
        self._stages[stage] += 1
        if self._stages[stage] > 1:
            stage = f'{stage}_{self._stages[stage]}'
        try:
            self._attach(runner, loop, split, self._root / stage, iteration)
        except Exception as error:  # a run of days matters more
            if self.strict:
                raise
            fault = ' '.join(str(error).split())
            text = (
                'EvaluationRecord: this run is not recorded: '
                f'{type(error).__name__}: {fault}'
            )
            print_log(printable(text), 'current', logging.WARNING)

    def _attach(
        self,
        runner: Runner,
        loop: Any,
        split: str,
        folder: Path,
        iteration: int | None,
    ) -> None:
        """Add the metric where it is missing, and say whose numbers come."""
        evaluator, dataset = loop.evaluator, loop.dataloader.dataset
        if id(evaluator) not in self._own:
            metric = self._build(runner, evaluator.metrics, dataset, folder)
            metric.dataset_meta = getattr(dataset, 'metainfo', None)
            if not any(type(m) is type(metric) for m in evaluator.metrics):
                evaluator.metrics.append(metric)
                self._own[id(evaluator)] = metric
        own = self._own.get(id(evaluator))
        if self.probs:
            _keep_logits(runner.model)
        checkpoint = _checkpoint(runner, iteration)
        parts = leaves(dataset)
        known = {
            'dataset': type(parts[0]).__name__,
            'data_root': _data_root(parts),
            'split': split,
            'iteration': iteration,
            'config': _absolute(runner.cfg.filename),
            'config_hash': self._config_hash,
            'checkpoint': checkpoint,
            'checkpoint_hash': (
                # A checkpoint of the training may be written anew.
                _file_hash(checkpoint)
                if iteration is None and is_main_process()
                else ''
            ),
            'work_dir': _absolute(runner.work_dir),
        }
        for metric in evaluator.metrics:
            if own is not None and metric is own:
                own.begin_record(folder, **known)
                self.folder = folder
            elif hasattr(metric, 'begin_record'):
                metric.begin_record(**known)

    def _build(
        self, runner: Runner, metrics: list[Any], dataset: Any, folder: Path
    ) -> BaseMetric:
        """Build the metric of the package that a config belongs to."""
        common = {'out_dir': folder, 'strict': self.strict}
        if runner.cfg.get('default_scope') == 'mmdet':
            return METRICS.build(
                {
                    'type': 'mmdet.EvaluationRecord',
                    'ann_file': _ann_file(dataset),
                    **common,
                }
            )
        ignored = [
            m.ignore_index for m in metrics if hasattr(m, 'ignore_index')
        ]
        return METRICS.build(
            {
                'type': 'mmseg.EvaluationRecord',
                'ignore_index': ignored[0] if ignored else 255,
                'probs': self.probs,
                'boundary_share': self.boundary_share,
                **common,
            }
        )


def _config_hash(cfg: Config) -> str:
    """Return the SHA-256 of what a config does, but for places."""
    plain = {key: value for key, value in cfg.items() if key not in _PLACES}
    text = json.dumps(_plain(plain))
    return hashlib.sha256(text.encode()).hexdigest()


def _plain(value: Any) -> Any:
    """Return a value of a config as JSON has it, always in one order."""
    if isinstance(value, dict):
        return sorted([str(key), _plain(part)] for key, part in value.items())
    if isinstance(value, list | tuple):
        return [_plain(part) for part in value]
    if value is None or isinstance(value, str | int | float):
        return value
    # The text of an object may say where it lies in memory.
    return getattr(value, '__qualname__', type(value).__qualname__)


def _checkpoint(runner: Runner, iteration: int | None) -> str:
    """Return the file of a model's weights, where there is one.

    Args:
        runner: It runs.
        iteration: That of a validation; None where nothing is trained.
    """
    if iteration is None:
        return _absolute(runner._load_from)
    last = str(runner.message_hub.get_info('last_ckpt', ''))
    names = (f'iter_{runner.iter}.pth', f'epoch_{runner.epoch}.pth')
    return _absolute(last) if os.path.basename(last) in names else ''


def _file_hash(path: str) -> str:
    """Return the SHA-256 of a file; nothing where it is none."""
    if not os.path.isfile(path):
        return ''
    digest = hashlib.sha256()
    with open(path, 'rb') as file:
        while part := file.read(1 << 20):
            digest.update(part)
    return digest.hexdigest()


def _absolute(path: str | os.PathLike[str] | None) -> str:
    """Return a path from the root on; an address stays, and nothing, too."""
    if not path or '://' in str(path):
        return str(path or '')
    return os.path.abspath(os.path.expanduser(path))


def _data_root(parts: list[Any]) -> str:
    """Return the one folder of all data sets; nothing for several."""
    roots = {getattr(part, 'data_root', None) or '' for part in parts}
    return _absolute(roots.pop()) if len(roots) == 1 else ''


def _ann_file(dataset: Any) -> str:
    """Return the COCO file of a data set.

    Raises:
        ValueError: It has none, or several.
    """
    files = {str(getattr(p, 'ann_file', None) or '') for p in leaves(dataset)}
    path = files.pop() if len(files) == 1 else ''
    if not path.endswith('.json'):
        raise ValueError(
            f'{type(dataset).__name__} has the annotation file {path!r}; '
            'expected a data set with one COCO file (.json), as CocoDataset'
        )
    return path


def _keep_logits(model: Any) -> None:
    """Let a lean model keep the logits, by which it is sure."""
    model = model.module if is_model_wrapper(model) else model
    if hasattr(model, 'keep_logits'):
        model.keep_logits = True
