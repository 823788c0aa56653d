"""Checkpoints of which only the newest holds what resuming needs."""

import logging
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from mmengine.dist import is_main_process
from mmengine.fileio import LocalBackend
from mmengine.hooks import CheckpointHook
from mmengine.logging import MessageHub, print_log
from mmengine.registry import HOOKS
from mmengine.runner import Runner

from mmseg_ext.utils.files import atomic_path, write_text
from mmseg_ext.utils.text import printable

__all__ = ['LeanCheckpointHook']

#: What only resuming needs: with AdamW two thirds of a file.
_RESUMING = ('optimizer', 'param_schedulers')

#: Where mmengine's message hub has the names of files with these.
_WHOLE = 'whole_ckpts'


@HOOKS.register_module()
class LeanCheckpointHook(CheckpointHook):
    """mmengine's ``CheckpointHook`` with small files but for the newest.

    Only the newest ``iter_*.pth`` or ``epoch_*.pth`` has the states of
    optimizer and learning rates, and a training is resumed from it as from one
    of ``CheckpointHook``. Earlier ones that are kept lose these states when a
    newer one is there; what is left is what ``CheckpointHook`` writes with
    ``save_optimizer=False, save_param_scheduler=False``. The ``best_*`` files
    never have them, as with ``CheckpointHook``.

    Files with numbers are written whole or not at all, the newest before
    others are changed or removed. So whatever ends the training, there is one
    to resume from; for a moment there is one more than ``max_keep_ckpts``. A
    file that cannot be made smaller stays as it is, with a warning.

    On other than local disks, and with mmengine's ``FlexibleRunner``, this is
    ``CheckpointHook``. Arguments are those of ``CheckpointHook``.
    """

    def before_train(self, runner: Runner) -> None:
        """Take up what a training left that was stopped while it saved."""
        super().before_train(runner)
        if self._is_lean(runner):
            self._tidy(runner.message_hub)

    def _is_lean(self, runner: Runner) -> bool:
        """Return whether files can be replaced and read."""
        local = isinstance(self.file_backend, LocalBackend)
        return local and isinstance(runner, Runner)

    def _save_checkpoint_with_step(
        self, runner: Runner, step: int, meta: dict[str, Any]
    ) -> None:
        """Save a checkpoint, then make the earlier ones smaller."""
        if not self._is_lean(runner):
            super()._save_checkpoint_with_step(runner, step, meta)
            return
        hub = runner.message_hub
        name = self.filename_tmpl.format(step)
        # mmengine saves this with the checkpoint: a training that is resumed
        # from it knows which are left.
        whole = [n for n in hub.runtime_info.get(_WHOLE, []) if n != name]
        hub.update_info(_WHOLE, [*whole, name])
        dropped = self._count(hub, step)
        self.last_ckpt = os.path.join(self.out_dir, name)
        hub.update_info('last_ckpt', self.last_ckpt)
        if is_main_process():
            self._write(runner, self.last_ckpt, meta)
        self._tidy(hub, dropped)

    def _count(self, hub: MessageHub, step: int) -> list[str]:
        """Count a checkpoint; return the name of one too many, if any."""
        if self.max_keep_ckpts <= 0:
            return []
        dropped = []
        if step not in self.keep_ckpt_ids:
            if len(self.keep_ckpt_ids) == self.max_keep_ckpts:
                dropped.append(
                    self.filename_tmpl.format(self.keep_ckpt_ids[0])
                )
            self.keep_ckpt_ids.append(step)  # a deque of that length
        hub.update_info('keep_ckpt_ids', list(self.keep_ckpt_ids))
        return dropped

    def _tidy(self, hub: MessageHub, dropped: Sequence[str] = ()) -> None:
        """Remove the files that are too many, and make the others smaller."""
        whole = hub.runtime_info.get(_WHOLE, [])
        earlier, newest = whole[:-1], whole[-1:]
        if is_main_process():
            if self.max_keep_ckpts > 0:
                kept = map(self.filename_tmpl.format, self.keep_ckpt_ids)
                dropped = [*dropped, *(set(earlier) - set(kept))]
            for name in dropped:
                Path(self.out_dir, name).unlink(missing_ok=True)
            for name in earlier:
                _strip(Path(self.out_dir, name))
        hub.update_info(_WHOLE, newest)

    def _write(self, runner: Runner, path: str, meta: dict[str, Any]) -> None:
        """Write the newest checkpoint, and note that it is."""
        # It must be on the disk before the others lose what it has.
        with atomic_path(path, durable=True) as temporary:
            runner.save_checkpoint(
                str(temporary.parent),
                temporary.name,
                save_optimizer=self.save_optimizer,
                save_param_scheduler=self.save_param_scheduler,
                meta=meta,
                by_epoch=self.by_epoch,
                backend_args=self.backend_args,
                **self.args,
            )
        write_text(Path(runner.work_dir, 'last_checkpoint'), path)


def _strip(path: Path) -> None:
    """Take from a file what only resuming needs; warn where that fails."""
    try:
        if path.is_file():
            _rewrite(path)
    except Exception as error:  # a run of days matters more
        fault = ' '.join(str(error).split())
        text = (
            f'LeanCheckpointHook: {path} stays as large as it is: '
            f'{type(error).__name__}: {fault:.300}'
        )
        print_log(printable(text), 'current', logging.WARNING)


def _rewrite(path: Path) -> None:
    """Write a checkpoint anew, without what only resuming needs."""
    # Mapped: what is left out is not read.
    checkpoint = torch.load(
        path, map_location='cpu', weights_only=True, mmap=True
    )
    for key in _RESUMING:
        checkpoint.pop(key, None)
    with atomic_path(path, durable=True) as temporary:
        torch.save(checkpoint, temporary)
