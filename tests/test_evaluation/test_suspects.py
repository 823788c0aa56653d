import numpy as np
import pytest

from mmseg_ext.evaluation.errors import find_errors
from mmseg_ext.evaluation.suspects import find_suspects
from references import errors as naive


@pytest.fixture
def scene():
    """Return prediction and label: a forgotten car, and a truck for a bus."""
    label = np.zeros((200, 300), np.uint8)
    label[10:60, 20:80] = 3
    prediction = label.copy()
    prediction[10:60, 20:80] = 4
    prediction[120:150, 200:240] = 1
    prediction[100, 10:20] = 1  # too small
    label[:, 290:] = 255
    prediction[:, 290:] = 2
    return prediction, label


def test_large_areas_come_first(scene):
    found = find_suspects(find_errors(*scene, 5))
    assert found.dtype == np.int64
    assert found.tolist() == [
        [20, 10, 60, 50, 3, 4, 3000, -1],
        [200, 120, 40, 30, 0, 1, 1200, -1],
    ]
    assert find_suspects(find_errors(*scene, 5), limit=1).tolist() == [
        found[0].tolist()
    ]
    small = find_suspects(find_errors(*scene, 5), min_share=0)
    assert small[2].tolist() == [10, 100, 10, 1, 0, 1, 10, -1]


def test_confidence_has_to_be_high_on_average(scene):
    confidence = np.full((200, 300), 0.6, np.float32)
    confidence[10:60, 20:80] = 0.95
    confidence[10:30, 20:80] = 0.9
    confidence[120:150, 200:240] = 0.89
    found = find_suspects(find_errors(*scene, 5), confidence)
    assert found.tolist() == [[20, 10, 60, 50, 3, 4, 3000, 930]]
    confidence[30, 30] = np.nan
    assert not len(find_suspects(find_errors(*scene, 5), confidence))


def test_edges_are_no_suspects():
    label = np.zeros((200, 300), np.uint8)  # d is 7.
    label[50:150, 50:250] = 1
    assert not len(find_suspects(find_errors(np.roll(label, 6, 1), label, 2)))


@pytest.mark.parametrize('seed', range(8))
def test_areas_equal_those_of_a_search(seed):
    rng = np.random.default_rng(seed)
    shape = rng.integers(10, 30, 2)
    label, prediction = (
        np.kron(rng.integers(0, 3, (10, 10)), np.ones((3, 3), np.uint8))[
            : shape[0], : shape[1]
        ].astype(np.uint8)
        for _ in range(2)
    )
    label[rng.random(shape) < 0.05] = 255
    confidence = rng.choice([0.875, 1, 1, 1], shape)
    expected = naive.suspects(
        prediction.tolist(), label.tolist(), confidence.tolist(), 3, 0.03, 3
    )
    found = find_suspects(
        find_errors(prediction, label, 3, share=0.03),
        confidence,
        min_share=2.5 / label.size,
        limit=10**6,
    )
    assert found[:, :6].tolist() == [row[:6] for row in expected]
    assert found[:, 6:].tolist() == [row[6:] for row in expected]
    assert len(found)


@pytest.mark.parametrize('value', [0, 255])
def test_no_errors(value):
    label = np.full((8, 9), value, np.uint8)
    found = find_suspects(find_errors(np.zeros_like(label), label, 2))
    assert found.shape == (0, 8)
    found = find_suspects(
        find_errors(np.zeros_like(label), label, 2), np.ones(label.shape)
    )
    assert found.shape == (0, 8)
