"""Curves, bars and confusion matrix at the end of a run."""

from pathlib import Path

import numpy as np
from mmengine.dist import is_main_process
from mmengine.evaluator import Evaluator
from mmengine.hooks import Hook
from mmengine.registry import HOOKS
from mmengine.runner import EpochBasedTrainLoop, Runner

from mmseg_ext.utils.arguments import require
from mmseg_ext.visualization.confusion import (
    CONFUSION_FILE,
    ConfusionMatrix,
    write_confusion,
)
from mmseg_ext.visualization.curves import (
    NothingToDrawError,
    PlotReport,
    plot_work_dir,
)

__all__ = ['PLOTS', 'RunPicturesHook']

#: Folder of the pictures in the work dir of a run.
PLOTS = 'plots'


@HOOKS.register_module()
class RunPicturesHook(Hook):
    """Hook that draws what a run logged when the run is at its end.

    After a training and after a test the pictures and tables of
    :func:`~mmseg_ext.visualization.curves.plot_work_dir` are written to
    ``plots`` in the work dir: ``curves.png``, and ``class_iou`` and
    ``confusion`` as ``.png``, ``.md`` and ``.csv``, each if there is
    something to put in.

    After each validation and test with the metric ``IoU`` its confusion
    matrix is kept in the log folder of the run, in
    ``vis_data/confusion.json``, also for runs that are killed. It replaces
    that of the evaluation before. Of several such metrics the first counts.

    Works with MMSeg, MMDet and mmengine's own runners, needs no display, and
    writes in the first process only. What cannot be written or drawn is a
    warning in the log, and does not end the run.

    Args:
        draw: Whether to draw; False only keeps the confusion matrix.

    Attributes:
        report: The files of the newest pictures and what is missing, None
            where nothing was drawn.

    Raises:
        ValueError: ``draw`` is neither True nor False.
    """

    # After the log, and after checkpoints.
    priority = 'LOWEST'

    def __init__(self, draw: bool = True) -> None:
        require('draw', draw, isinstance(draw, bool), 'True or False')
        self.draw = draw
        self.report: PlotReport | None = None
        self._trains = False

    def before_train(self, runner: Runner) -> None:
        """Note that there are iterations to count."""
        self._trains = True

    def after_val_epoch(
        self, runner: Runner, metrics: dict[str, float] | None = None
    ) -> None:
        """Keep the confusion matrix of a validation."""
        self._keep(runner, runner.val_evaluator, self._when(runner))

    def after_test_epoch(
        self, runner: Runner, metrics: dict[str, float] | None = None
    ) -> None:
        """Keep the confusion matrix of a test."""
        self._keep(
            runner, runner.test_evaluator, f'test of {runner.timestamp}'
        )

    def after_train(self, runner: Runner) -> None:
        """Draw what was logged."""
        self._draw(runner)

    def after_test(self, runner: Runner) -> None:
        """Draw what was logged."""
        self._draw(runner)

    def _when(self, runner: Runner) -> str:
        """Return in words which validation this is.

        Where nothing is trained, the runner would build the training data
        set, which need not be there, to count iterations.
        """
        if not self._trains:
            return f'validation of {runner.timestamp}'
        if isinstance(runner.train_loop, EpochBasedTrainLoop):
            return f'validation at epoch {runner.epoch}'
        return f'validation at iteration {runner.iter}'

    def _keep(self, runner: Runner, evaluator: Evaluator, when: str) -> None:
        """Write the confusion matrix of an evaluation, if there is one."""
        matrix = _confusion(evaluator, when) if is_main_process() else None
        if matrix is None:
            return
        try:
            write_confusion(matrix, Path(runner.log_dir, CONFUSION_FILE))
        # Neither a full disk nor a strange data set ends a run here.
        except Exception as error:
            runner.logger.warning(
                f'the confusion matrix of the {when} is not kept: '
                f'{type(error).__name__}: {error}'
            )

    def _draw(self, runner: Runner) -> None:
        """Draw, and only warn where that fails."""
        if not self.draw or not is_main_process():
            return
        out_dir = Path(runner.work_dir, PLOTS)
        try:
            self.report = plot_work_dir(runner.work_dir, out_dir)
        except (FileNotFoundError, NothingToDrawError) as error:
            runner.logger.info(f'no curves or bars of this run: {error}')
        # Pictures must not end what may have taken days.
        except Exception as error:
            runner.logger.warning(
                f'no curves or bars of this run: {type(error).__name__}: '
                f'{error}; RunPicturesHook(draw=False) leaves them out'
            )


def _confusion(evaluator: Evaluator, when: str) -> ConfusionMatrix | None:
    """Return the matrix of the first metric that has one."""
    for metric in getattr(evaluator, 'metrics', ()):
        counts = getattr(metric, 'confusion', None)
        classes = (getattr(metric, 'dataset_meta', None) or {}).get('classes')
        if isinstance(counts, np.ndarray) and classes:
            return ConfusionMatrix(list(classes), counts, when)
    return None
