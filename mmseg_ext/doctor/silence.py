"""What others log and warn of while the doctor looks; it tells by itself."""

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import cv2
from mmengine.logging import MMLogger

__all__ = ['silence']


@contextmanager
def silence() -> Iterator[None]:
    """Leave out what MMEngine's logger, OpenCV and Python's warnings say.

    Yields:
        None; when it ends, all is said again.
    """
    logger, of_cv2 = MMLogger.get_current_instance(), cv2.utils.logging
    levels = logger.level, of_cv2.getLogLevel()
    # Python's logging.disable would leave it silent for ever.
    logger.setLevel(logging.CRITICAL)
    of_cv2.setLogLevel(of_cv2.LOG_LEVEL_SILENT)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter('ignore')
            yield
    finally:
        logger.setLevel(levels[0])
        of_cv2.setLogLevel(levels[1])
