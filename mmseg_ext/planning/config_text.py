"""The text of a config for one's own data."""

from mmseg_ext.planning.plan import Plan
from mmseg_ext.planning.prepare import Prepared

__all__ = ['config_text']


def config_text(
    plan: Plan, prepared: Prepared, data_root: str, title: str
) -> str:
    """Return a config that inherits that of a plan, in plain MMEngine style.

    What people change stands at the top under a name, with the reason of the
    plan in a comment above it, and is used below. It needs no Python module
    beside it.

    Args:
        plan: The choices.
        prepared: What it says of the data.
        data_root: The folder of the data.
        title: First line of its comment at the top.

    Raises:
        ValueError: The config to inherit cannot be read, or is of another
            task, or has a part that cannot be fitted, such as a head without
            num_classes; the sentence names it.
    """
    raise NotImplementedError
