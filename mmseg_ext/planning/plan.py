"""What to train with, and why: one number behind each choice."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Generic, NamedTuple, TypeVar

from mmseg_ext.planning.fingerprint import Fingerprint
from mmseg_ext.planning.machine import Machine

__all__ = ['MODELS', 'Choice', 'Plan', 'fit', 'make_plan']

Value = TypeVar('Value')


class Choice(NamedTuple, Generic[Value]):
    """What was chosen.

    Attributes:
        value: It.
        reason: The number behind it, in a short sentence for a comment.
    """

    value: Value
    reason: str


#: Config of the package or of upstream by ``--model`` and task.
MODELS: dict[tuple[str, str], str] = {}


@dataclass(frozen=True)
class Plan:
    """All choices.

    Attributes:
        task: ``'semantic'`` or ``'instance'``.
        base: Name or path of the config to inherit.
        scale: Width and height that images are fitted into before a crop and
            at test; None where they keep their size.
        crop_size: Height and width of a crop, each a multiple of 32.
        batch_size: Images a step.
        accumulate: Steps whose gradients are summed.
        batch_norm: Whether the batch is large enough for batch norm; where
            not, group norm takes its place in heads and necks, and that of the
            backbone keeps its means.
        max_iters: Iterations, counting each step of an accumulation.
        val_interval: Iterations from one validation to the next.
        class_weight: Rule of :class:`BalancedCrossEntropy`; None for none.
        mean_std: Means and deviations of red, green and blue; None for those
            of the pretrained model.
        num_workers: Processes that load training images.
        amp: Whether to train in mixed precision.
    """

    task: str
    base: Choice[str]
    scale: Choice[tuple[int, int] | None]
    crop_size: Choice[tuple[int, int]]
    batch_size: Choice[int]
    accumulate: Choice[int]
    batch_norm: Choice[bool]
    max_iters: Choice[int]
    val_interval: Choice[int]
    class_weight: Choice[str | None]
    mean_std: Choice[
        tuple[tuple[float, float, float], tuple[float, float, float]] | None
    ]
    num_workers: Choice[int]
    amp: Choice[bool]

    def lines(self) -> Iterator[str]:
        """Yield each choice with its reason."""
        raise NotImplementedError


def make_plan(
    fingerprint: Fingerprint, machine: Machine, model: str | None = None
) -> Plan:
    """Choose, but for what memory decides (:func:`fit`).

    Args:
        fingerprint: The data in numbers.
        machine: What there is to train on.
        model: ``'fast'``, ``'accurate'``, or the name or path of a config;
            None for what the machine can train: fast on a CPU, accurate on a
            GPU.
    """
    raise NotImplementedError


def fit(plan: Plan, measure: Callable[[int], int], memory: int) -> Plan:
    """Choose how many images a step fit the memory, and accumulate the rest.

    Args:
        plan: Its batch size is the wanted one.
        measure: Returns the bytes that one step takes with a batch size.
        memory: Bytes that there are.

    Raises:
        ValueError: Not even one image fits.
    """
    raise NotImplementedError
