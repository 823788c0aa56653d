"""What a run shows on the console: a summary, its progress and its end."""

import time
import warnings
from contextlib import ExitStack
from typing import TextIO

from mmengine.config import Config
from mmengine.dist import is_main_process
from mmengine.runner import Runner

from mmseg_ext.launch.noise import Quiet, build_runner
from mmseg_ext.launch.progress import ProgressHook, headlines, one_screen
from mmseg_ext.launch.summary import count_loaded

__all__ = ['Console']


class Console:
    """What a run shows, used as a context around building and running.

    Only the first process of a job shows anything.

    Args:
        verbose: Show all that upstream says, and no line of progress.

    Attributes:
        loaded: How many samples data sets loaded; see
            :func:`~mmseg_ext.launch.summary.count_loaded`.
    """

    def __init__(self, verbose: bool) -> None:
        self.loaded: dict[int, int] = {}
        self._quiet = None if verbose else Quiet()
        self._terminal: TextIO | None = None
        self._progress: ProgressHook | None = None
        self._began = time.monotonic()
        self._stack = ExitStack()

    def __enter__(self) -> 'Console':
        with self._stack:
            self.loaded = self._stack.enter_context(count_loaded())
            if self._quiet is not None:
                self._terminal = self._stack.enter_context(one_screen())
                self._stack.enter_context(self._quiet())
            self._stack = self._stack.pop_all()
        return self

    def __exit__(self, *error: object) -> None:
        if self._progress is not None:
            self._progress.close()
        self._stack.close()

    def build(self, cfg: Config) -> Runner:
        """Return the runner of a config, which shows how far it is."""
        runner = build_runner(cfg, self._quiet)
        if self._quiet is None:
            return runner
        if is_main_process():
            self._progress = ProgressHook(self._quiet, self._terminal)
            runner.register_hook(self._progress)
        else:
            # What the first process warns of is enough.
            self._stack.enter_context(warnings.catch_warnings())
            warnings.simplefilter('ignore')
        return runner

    def say(self, text: str) -> None:
        """Show a text, below the bar if there was one."""
        if self._progress is not None:
            self._progress.close()
        if is_main_process():
            print(text, flush=True)

    @property
    def seconds(self) -> float:
        """Time since it was made."""
        return time.monotonic() - self._began

    @property
    def tables(self) -> list[str]:
        """The last scores of the classes."""
        return self._quiet.tables if self._quiet is not None else []

    @property
    def scores(self) -> str:
        """The last scores of a training, and the best, in a line."""
        if self._progress is None or not self._progress.scores:
            return ''
        return f'{headlines(self._progress.scores)}; {self._progress.best}'
