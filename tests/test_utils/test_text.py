import pytest

from mmseg_ext.utils.text import csv_text, decode_text, listing


def test_csv():
    rows = [('name', 'score'), ('a, b', 0.5), ('"c"', None)]
    assert csv_text(rows) == 'name,score\n"a, b",0.5\n"""c""",\n'
    assert csv_text([]) == ''


@pytest.mark.parametrize('encoding', ['utf-8', 'utf-8-sig'])
def test_text_in_utf8(encoding):
    assert decode_text('Straße\n'.encode(encoding), 'a.csv') == 'Straße\n'


@pytest.mark.parametrize(
    ('encoding', 'reason'),
    [
        pytest.param('utf-16', 'encoded as UTF-16: save', id='UTF-16'),
        pytest.param(
            'cp1252', 'byte 0xdf in line 2, as in cp1252', id='8 bit'
        ),
    ],
)
def test_text_in_another_encoding(encoding, reason):
    with pytest.raises(ValueError, match=rf'^a\.csv is .*{reason}'):
        decode_text('name\nStraße\n'.encode(encoding), 'a.csv')


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
