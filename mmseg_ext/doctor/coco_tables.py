"""COCO files as tables, whatever is wrong with them."""

from typing import NamedTuple

from mmengine.config import ConfigDict

__all__ = ['CocoTable', 'read_coco_table']


class CocoTable(NamedTuple):
    """What a COCO file holds."""

    path: str


def read_coco_table(cfg: ConfigDict) -> CocoTable | None:
    """Read the COCO file of a data set, from its config."""
    return None
