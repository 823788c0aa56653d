"""What the doctor gathers of a config and its data, for all checks.

A :class:`Case` has the config, its data sets by split and part, what was
found in their files, what their pipelines made of a few samples, and the
model. Each of these may be missing, since one can be gathered where another
cannot: checks look for what they need, and yield nothing without it.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from mmengine.config import Config, ConfigDict

from mmseg_ext.doctor.built_model import BuiltModel
from mmseg_ext.doctor.parts import Part
from mmseg_ext.doctor.pipeline_runs import PipelineRun
from mmseg_ext.doctor.validation_step import ValidationStep
from mmseg_ext.launch.configs import scope_of

__all__ = ['Case', 'Split']


@dataclass
class Split:
    """The data of a dataloader of a config.

    Attributes:
        name: ``'train'``, ``'val'`` or ``'test'``.
        loader: The config of the dataloader.
        dataset: The whole data set, built; None if a part cannot be.
        parts: The data sets without others in it.
        runs: What its pipeline made of a few samples.
    """

    name: str
    loader: ConfigDict
    dataset: Any = None
    parts: list[Part] = field(default_factory=list)
    runs: Sequence[PipelineRun] = ()

    @property
    def key(self) -> str:
        """The key of the dataloader in the config."""
        return f'{self.name}_dataloader'


@dataclass
class Case:
    """A config with its data, as far as they could be gathered.

    Attributes:
        cfg: The config.
        path: Its path.
        splits: What was looked at, by name, in the order train, val, test.
        model: The model, or why it cannot be built; None if the config has
            none.
        validation: What metrics made of perfect predictions, by split.
    """

    cfg: Config
    path: str
    splits: dict[str, Split] = field(default_factory=dict)
    model: BuiltModel | None = None
    validation: list[ValidationStep] = field(default_factory=list)

    @property
    def semantic(self) -> bool:
        """Whether it is a config of MMSeg, with label maps."""
        return scope_of(self.cfg) != 'mmdet'

    @property
    def parts(self) -> Iterator[Part]:
        """The data sets of all splits."""
        for split in self.splits.values():
            yield from split.parts
