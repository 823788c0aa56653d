"""What upstream says in every run, and what users need not read.

One list, by exact beginnings, with a reason each. What is not in it is shown,
also warnings that nobody knows yet. Files of logs keep everything.
"""

import builtins
import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any

from mmengine.config import Config
from mmengine.logging import MMLogger
from mmengine.registry import RUNNERS
from mmengine.runner import Runner

__all__ = ['LOGGED', 'PRINTED', 'TOLD', 'WARNED', 'Quiet', 'build_runner']

_IN_SUMMARY = 'the summary says it'
_IN_PROGRESS = 'the line of progress, or that of a validation, says it'
_AT_THE_END = 'the end of the run says it'

#: What loggers of MMEngine, MMSeg and MMDet say -> why it is not shown.
LOGGED = {
    f'\n{"-" * 60}\nSystem environment:': 'for reports of bugs, in the file',
    'Config:\n': 'some 300 lines, which are in the work dir as a file',
    'Hooks will be executed in the following order:': 'some 90 lines, the '
    'same in every run',
    'Distributed training is not used, all SyncBatchNorm': 'what every '
    'training on one device does, and nothing is lost',
    'paramwise_options -- ': 'three lines for each of the parameters',
    'Checkpoints will be saved to ': _IN_SUMMARY,
    'Loads checkpoint by ': _IN_SUMMARY,
    'Load checkpoint from ': _IN_SUMMARY,
    'load model from: ': _IN_SUMMARY,
    'Exp name: ': 'the name of the work dir and of the log file',
    'Iter(train) ': _IN_PROGRESS,
    'Iter(val) ': _IN_PROGRESS,
    'Iter(test) ': _IN_PROGRESS,
    'Epoch(train) ': _IN_PROGRESS,
    'Epoch(val) ': _IN_PROGRESS,
    'Epoch(test) ': _IN_PROGRESS,
    'Evaluating bbox...': _IN_PROGRESS,
    'Evaluating segm...': _IN_PROGRESS,
    'bbox_mAP_copypaste: ': _IN_PROGRESS,
    'segm_mAP_copypaste: ': _IN_PROGRESS,
    'Saving checkpoint at ': _AT_THE_END,
    'The best checkpoint with ': _AT_THE_END,
    'The previous best checkpoint ': _AT_THE_END,
    '"FileClient" will be deprecated': 'meant for the authors of MMEngine, '
    'whose own hook of checkpoints uses it',
    '"HardDiskBackend" is the alias of "LocalBackend"': 'as for FileClient',
    'The prefix is not set in metric class ': 'so it is in most configs of '
    'MMSeg, and what a score is called is seen where it is shown',
    '`save_param_scheduler` is True but `self.param_schedulers` is None': 'a '
    'constant learning rate has nothing to save',
    'Failed to search registry with scope ': 'MMEngine looks for its own '
    'classes in the scope of the config before that is imported, and finds '
    'them in its own',
}

#: The same, by exact ends, where names come first.
LOGGED_OF_NAMES = {
    ' is skipped since its requires_grad=False': 'a line for each parameter '
    'that is frozen; the summary counts them',
}

#: Tables of the scores of classes: the last ones are shown at the end.
TABLES = ('per class results:', '\n+-')

#: What upstream hands to ``warnings.warn`` -> why it is not shown. The
#: command line reads these keys, and leaves out what is said while upstream
#: is imported, too.
WARNED = {
    'pkg_resources is deprecated as an API': 'MMEngine imports it, and the '
    'environment has a setuptools that has it',
    '``build_loss`` would be deprecated soon': 'MMSeg uses it itself',
    'Default ``avg_non_ignore`` is False': 'advice that each loss of a '
    'config gets, and some mean it so',
    'The draw is False, it means that the hook': 'what the default of the '
    'config says',
    "Failed to add <class 'mmengine.visualization.vis_backend."
    "LocalVisBackend'>": 'of a visualizer that draws and writes nothing',
    'Setting OMP_NUM_THREADS environment variable for each process': 'the '
    'summary gives the number of threads',
    'Setting MKL_NUM_THREADS environment variable for each process': 'the '
    'same of another library',
    '`broadcast_buffers` is deprecated': 'of PyTorch, to MMEngine',
    'Grad strides do not match bucket view strides': 'what PyTorch says of '
    'depthwise convolutions in several processes; it costs little',
    'The shape of value will convert from ': 'MMSeg hands maps over without '
    'their first axis, which is what is added',
    'To copy construct from a tensor, it is recommended to use': 'of PyTorch, '
    "to MMDet's head of masks, which copies a number",
    'DeprecationWarning: pretrained is a deprecated': "upstream's own configs "
    'give it, and it works',
    'For binary segmentation, we suggest using`out_channels = 1`': 'advice '
    'for each head of two classes; two outputs are as good',
    '`torch.cuda.amp.autocast(args...)` is deprecated': 'of PyTorch, to '
    'MMSeg and MMEngine',
    '`torch.cuda.amp.GradScaler(args...)` is deprecated': 'of PyTorch, to '
    'MMEngine',
    'torch.meshgrid: in an upcoming release': 'of PyTorch, to MMSeg and MMDet',
    'Warning: The bbox is out of bounds': 'a predicted box may reach beyond '
    'the image, and the picture shows it',
    'Warning: The polygon is out of bounds': 'as for boxes',
}

#: What is printed, mostly by pycocotools for each file and validation -> why
#: it is not shown. The command line reads these keys, too.
PRINTED = {
    'Could not import OneDL': 'of the forks while they are imported: a '
    'service that nothing here needs',
    'Loads checkpoint by ': _IN_SUMMARY,
    'loading annotations into memory': 'the summary counts the images',
    'Done (t=': 'the end of a line before',
    'DONE (t=': 'the end of a line before',
    'creating index': 'the summary counts the images',
    'index created': 'the summary counts the images',
    'Loading and preparing results': _IN_PROGRESS,
    'Running per image evaluation': _IN_PROGRESS,
    'Evaluate annotation type ': _IN_PROGRESS,
    'Accumulating evaluation results': _IN_PROGRESS,
    ' Average Precision ': _IN_PROGRESS,
    ' Average Recall ': 'in the file; the end of the run gives the scores',
}

#: ``extra`` of a message that the console shows elsewhere.
TOLD = {'told': True}

#: The modules that print them.
_PRINTING = (
    *('mmengine.logging.logger', 'pycocotools.coco', 'pycocotools.cocoeval'),
)


class Quiet(logging.Filter):
    """Leaves known noise out of what loggers show, not of what they write.

    Attributes:
        tables: Those of the scores of classes since it was cleared.
    """

    def __init__(self) -> None:
        super().__init__()
        self.tables: list[str] = []

    def filter(self, record: logging.LogRecord) -> bool:
        """Return whether a message is shown, and keep it if it is a table."""
        text = record.getMessage()
        if text.startswith(TABLES):
            table = text.removeprefix(TABLES[0]).strip('\n')
            self.tables += [table] if table else []
            return False
        return not (
            text.startswith(tuple(LOGGED))
            or text.endswith(tuple(LOGGED_OF_NAMES))
            or any(hasattr(record, mark) for mark in TOLD)
        )

    def attach(self, logger: logging.Logger) -> None:
        """Filter what a logger shows."""
        for handler in _consoles(logger):
            handler.addFilter(self)

    @contextmanager
    def __call__(self) -> Iterator[None]:
        """Filter what is said before there is a runner, and what is printed.

        Yields:
            None; when it ends, all is shown again.
        """
        logger = MMLogger.get_current_instance()
        self.attach(logger)
        modules = [sys.modules[m] for m in _PRINTING if m in sys.modules]
        for module in modules:
            _set_print(module, _print_others)
        try:
            yield
        finally:
            for module in modules:
                _set_print(module, print)
            for handler in _consoles(logger):
                handler.removeFilter(self)


def build_runner(cfg: Config, quiet: Quiet | None) -> Runner:
    """Return the runner of a config.

    Args:
        cfg: The config.
        quiet: Filters what the runner's logger shows, from the first message
            on, by a subclass of the runner's class; None for no filter.
    """
    given = cfg.get('runner_type', 'Runner')
    kind = RUNNERS.get(given) if isinstance(given, str) else given
    # Without a class the registry says what is wrong.
    if quiet is None or kind is None:
        return RUNNERS.build(cfg)
    filtered = _filtered(kind, quiet, cfg.get('runner_type'))
    quiet_cfg = cfg.copy()
    quiet_cfg.runner_type = filtered
    return RUNNERS.build(quiet_cfg)


def _filtered(
    kind: type[Runner], quiet: Quiet, runner_type: Any
) -> type[Runner]:
    """Return a subclass of a class of runners whose logger is filtered."""

    def from_cfg(cls: type[Runner], cfg: Config) -> Runner:
        # What is written to the work dir is the config as it was.
        cfg.pop('runner_type')
        if runner_type is not None:
            cfg['runner_type'] = runner_type
        return super(filtered, cls).from_cfg(cfg)

    def build_logger(self: Runner, *args: Any, **kwargs: Any) -> MMLogger:
        logger = kind.build_logger(self, *args, **kwargs)
        quiet.attach(logger)
        return logger

    filtered: type[Runner] = type(
        kind.__name__,
        (kind,),
        {
            'from_cfg': classmethod(from_cfg),
            'build_logger': build_logger,
            '__module__': kind.__module__,
        },
    )
    return filtered


def _consoles(logger: logging.Logger) -> list[logging.Handler]:
    """Return the handlers of a logger that show, and do not write files."""
    return [
        handler
        for handler in logger.handlers
        if isinstance(handler, logging.StreamHandler)
        and not isinstance(handler, logging.FileHandler)
    ]


def _set_print(module: ModuleType, function: Any) -> None:
    """Set what ``print`` means in a module."""
    if function is builtins.print:
        vars(module).pop('print', None)
    else:
        vars(module)['print'] = function


def _print_others(*args: Any, **kwargs: Any) -> None:
    """Print what is no noise."""
    if not (args and str(args[0]).startswith(tuple(PRINTED))):
        print(*args, **kwargs)
