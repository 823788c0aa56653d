"""The output of a neck: its maps, and the laterals behind them."""

from collections.abc import Iterable

from torch import Tensor

__all__ = ['FeaturePyramid']


class FeaturePyramid(tuple):
    """The output maps of a neck, with the laterals that they came from.

    It works as a plain tuple: detectors hand it on and heads read their
    levels from it. The laterals stay with the forward pass that made them, so
    that no other pass, detector, thread or process can mix them up.

    Args:
        maps: Output maps, each (N, C, H, W), the finest first.
        laterals: One map for each level of the backbone that is used, each
            (N, C, H, W), the finest first. Their sizes are those of the first
            output maps. By default there are none.

    Attributes:
        laterals: As above, a tuple.
    """

    laterals: tuple[Tensor, ...]

    def __new__(
        cls, maps: Iterable[Tensor], laterals: Iterable[Tensor] = ()
    ) -> 'FeaturePyramid':
        """Make the tuple and attach the laterals."""
        pyramid = super().__new__(cls, maps)
        pyramid.laterals = tuple(laterals)
        return pyramid
