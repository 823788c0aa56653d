"""The model of a config, built without weights."""

from typing import NamedTuple

from mmengine.config import Config

__all__ = ['BuiltModel', 'build_model']


class BuiltModel(NamedTuple):
    """A model, or why it cannot be built."""

    fault: str | None = None


def build_model(cfg: Config) -> BuiltModel | None:
    """Build the model of a config."""
    return None
