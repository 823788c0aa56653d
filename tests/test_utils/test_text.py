import pytest

from mmseg_ext.utils.text import csv_text, listing


def test_csv():
    rows = [('name', 'score'), ('a, b', 0.5), ('"c"', None)]
    assert csv_text(rows) == 'name,score\n"a, b",0.5\n"""c""",\n'
    assert csv_text([]) == ''


@pytest.mark.parametrize(
    ('number', 'expected'),
    [
        pytest.param(0, '', id='none'),
        pytest.param(2, '0, 1', id='few'),
        pytest.param(3, '0, 1, 2', id='as many as are named'),
        pytest.param(5, '0, 1, 2 and 2 more', id='more'),
    ],
)
def test_listing(number, expected):
    assert listing(range(number), limit=3) == expected
