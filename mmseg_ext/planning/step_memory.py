"""How much memory a training step takes, measured."""

from pathlib import Path

from mmseg_ext.planning.machine import Machine

__all__ = ['StepMemory']


class StepMemory:
    """Measures one training step of a config in a process of its own.

    One process serves several batch sizes, so that PyTorch is imported once.
    It builds the model without loading weights, takes a batch of random images
    of the crop's size with random labels of all classes, and steps twice, the
    optimizer's state included. On a GPU the peak of what PyTorch reserves
    counts, on a CPU that of the process's resident memory, and the processes
    that load images are added.

    Args:
        config: The config.
        machine: Where it will train.
    """

    def __init__(self, config: Path, machine: Machine) -> None:
        raise NotImplementedError

    def __enter__(self) -> 'StepMemory':
        raise NotImplementedError

    def __exit__(self, *args: object) -> None:
        raise NotImplementedError

    def __call__(self, batch_size: int) -> int:
        """Return the bytes that one step takes.

        A step that is out of memory takes more than there is: 2**63 - 1.

        Raises:
            ValueError: The step fails for another reason, which is named.
        """
        raise NotImplementedError
