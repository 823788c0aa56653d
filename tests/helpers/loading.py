"""What workers of a data loader say, in a file; importable, to be spawned."""

import logging

from mmengine.logging import MMLogger


def log_to(path, worker):
    """Append what mmengine's logger says in a worker to a file."""
    handler = logging.FileHandler(path)
    MMLogger.get_current_instance().addHandler(handler)


def take_first(batch):
    """Return the only sample of a batch."""
    return batch[0]
