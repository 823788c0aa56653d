"""Runners beside mmengine's own."""

from mmseg_ext.engine.runners.offline_runner import (
    OfflineRunner,
    leave_out_addresses,
)

__all__ = ['OfflineRunner', 'leave_out_addresses']
