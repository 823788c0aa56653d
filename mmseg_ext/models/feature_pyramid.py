"""What a neck hands to the heads: its maps, and what they were made from."""

from collections.abc import Iterable

from torch import Tensor


class FeaturePyramid(tuple):
    """The output maps of a neck, with the laterals that they came from.

    A plain tuple to all who do not ask for more: detectors hand it on and
    heads read their levels from it. What belongs to one forward pass stays
    with that pass, so that neither a second pass nor another detector, thread
    or process can mix it up.

    Args:
        maps: Output maps, each (N, C, H, W), the finest first.
        laterals: One map for each level of the backbone that is used, each
            (N, C, H, W), the finest first. Their sizes are those of the first
            output maps. None by default.

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
