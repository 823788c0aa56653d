import numpy as np
import pytest

from mmseg_ext.evaluation.regions import find_runs, join_runs, reach_runs
from references.errors import region


def labels(image, wanted):
    """Return {pixel: its first run} of the wanted pixels of an image."""
    pixels = np.flatnonzero(wanted)
    values = image.reshape(-1)[pixels]
    runs = find_runs(pixels, image.shape[1], values)
    root = join_runs(runs, values[runs.starts])
    assert (root <= np.arange(len(root))).all()
    places = [divmod(int(p), image.shape[1]) for p in pixels]
    return dict(zip(places, np.repeat(root, runs.sizes).tolist(), strict=True))


@pytest.mark.parametrize('seed', range(10))
@pytest.mark.parametrize('classes', [1, 2, 5])
def test_regions_equal_those_of_a_search(classes, seed):
    rng = np.random.default_rng(seed)
    image = rng.integers(0, classes, rng.integers(1, 25, 2))
    wanted = rng.random(image.shape) < rng.random()
    found = labels(image, wanted)
    for value in range(classes):
        places = set(map(tuple, np.argwhere(wanted & (image == value))))
        while places:
            area = region(places, min(places))
            places -= area
            (root,) = {found[place] for place in area}
            assert area == {
                place for place, each in found.items() if each == root
            }


def test_a_spiral_is_one_region():
    spiral = np.zeros((41, 41), np.uint8)
    row, column, step = 20, 20, (0, 1)
    for length in range(2, 40, 2):
        for _ in range(2):
            for _ in range(length):
                spiral[row, column] = 1
                row, column = row + step[0], column + step[1]
            step = (step[1], -step[0])
    assert set(labels(spiral, spiral > 0).values()) == {0}


def test_rows_do_not_go_on_in_the_next():
    image = np.zeros((3, 4), np.uint8)
    wanted = np.zeros((3, 4), np.bool_)
    wanted[0, 3] = wanted[1, 0] = wanted[2, 3] = True
    assert len(set(labels(image, wanted).values())) == 3


def test_what_is_reached_goes_through_equal_runs_alone():
    image = np.array([[1, 1, 0, 2], [0, 2, 2, 0], [2, 0, 0, 1]])
    pixels = np.arange(image.size)
    values = image.reshape(-1)
    runs = find_runs(pixels, 4, values)
    begins_of_2 = (runs.begin == 3) & (values[runs.starts] == 2)
    found = reach_runs(runs, values[runs.starts], begins_of_2)
    reached = np.repeat(found, runs.sizes).reshape(image.shape)
    np.testing.assert_array_equal(reached, image == 2)


def test_no_pixels():
    runs = find_runs(np.zeros(0, np.int64), 5)
    assert join_runs(runs, np.zeros(0)).tolist() == []
