"""Where models run."""

import torch

__all__ = ['check_device']


def check_device(device: str | None) -> None:
    """Check that there is a device of that name.

    Args:
        device: Such as ``'cuda:0'``; None for torch's default.

    Raises:
        ValueError: There is none, or it cannot be used.
    """
    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).partition('\n')[0]
        raise ValueError(
            f'device {device!r} cannot be used: {reason}'
        ) from None
