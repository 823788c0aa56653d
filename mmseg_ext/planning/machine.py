"""What there is to train on."""

from typing import NamedTuple

__all__ = ['Machine', 'this_machine']


class Machine(NamedTuple):
    """A machine.

    Attributes:
        device: ``'cuda'`` or ``'cpu'``.
        name: Of the device, for people.
        memory: Bytes that a training may take.
        cores: Cores that this process may use.
    """

    device: str
    name: str
    memory: int
    cores: int


def this_machine(memory_gb: float | None = None) -> Machine:
    """Return this machine.

    Args:
        memory_gb: What a training may take, in 2**30 bytes; by default nine
            tenths of what is free now, of the GPU or else of the RAM (and of
            the container's limit, where there is one).

    Raises:
        ValueError: ``memory_gb`` is not above 0, or more than there is.
    """
    raise NotImplementedError
