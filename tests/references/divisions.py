"""Which groups of images validate: all possibilities, counted in loops."""

from itertools import product

__all__ = ['Division', 'best_division']


class Division:
    """How well a division keeps to a share.

    Attributes:
        missing: Whether a split is empty, how many classes are in no image
            that trains, and how many, of those that several groups have, in
            none that validates.
        off: Squared deviations from the share, summed; all images count as
            often as there are classes.

    Args:
        shows: Of each image, the classes that it shows.
        groups: Numbers of images.
        val: Numbers of the groups that validate.
        share: Of the images, for validation.
    """

    def __init__(self, shows, groups, val, share):
        images = [n for group in groups for n in group]
        chosen = [n for number in val for n in groups[number]]
        present = sorted({label for n in images for label in shows[n]})
        untrained = unseen = 0
        self.off = len(present) * (len(chosen) / len(images) - share) ** 2
        for label in present:
            total = sum(label in shows[n] for n in images)
            held = sum(label in shows[n] for n in chosen)
            having = sum(
                any(label in shows[n] for n in group) for group in groups
            )
            untrained += held == total
            unseen += held == 0 and having > 1
            self.off += (held / total - share) ** 2
        empty = not 0 < len(chosen) < len(images)
        self.missing = (empty, untrained, unseen)


def best_division(shows, groups, share):
    """Return the best division of all."""
    return min(
        (
            Division(
                shows,
                groups,
                [number for number, bit in enumerate(bits) if bit],
                share,
            )
            for bits in product((0, 1), repeat=len(groups))
        ),
        key=lambda each: (each.missing, each.off),
    )
