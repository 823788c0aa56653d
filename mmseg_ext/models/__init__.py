"""Models. The import registers those that need MMSegmentation alone."""

from mmseg_ext.models.segmentors import MMDeeplabV3

__all__ = ['MMDeeplabV3']
