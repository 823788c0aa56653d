import json

import msgspec
import pytest

from mmseg_ext.formats.json_files import Coordinate, decode_json


class Thing(msgspec.Struct):
    name: str
    place: Coordinate = 0


TEXT = '{"name": "Straße", "place": 1.5, "more": [1, {"a": null}]}'


@pytest.mark.parametrize('mark', [b'', b'\xef\xbb\xbf'])
def test_with_and_without_mark(mark):
    data = mark + TEXT.encode()
    assert decode_json(data, Thing) == Thing('Straße', 1.5)
    assert decode_json(data, dict) == json.loads(TEXT)


def test_numbers_as_texts():
    data = b'{"name": "a", "place": "1.5"}'
    assert decode_json(data, Thing, strict=False) == Thing('a', 1.5)
    with pytest.raises(ValueError, match=r'Expected `float`, got `str`'):
        decode_json(data, Thing)


@pytest.mark.parametrize(
    ('data', 'reason'),
    [
        pytest.param(TEXT.encode('utf-16'), 'encoded as UTF-16', id='utf-16'),
        pytest.param(
            TEXT.encode('utf-16-be'), '^it is .*encoded as UTF', id='no-mark'
        ),
        pytest.param(
            TEXT.encode('cp1252'), r'byte 0xdf in line 1, as in c', id='cp1252'
        ),
        pytest.param(b'', 'truncated', id='empty'),
        pytest.param(TEXT[:-1].encode(), 'truncated', id='cut-off'),
        pytest.param(b'[]', 'Expected `object`, got `array`', id='list'),
        pytest.param(b'{"name": Nothing}', 'malformed', id='letters'),
        pytest.param(
            b'{"name": "",\n"place": NaN}', 'line 2 has NaN, which', id='nan'
        ),
        pytest.param(
            b'{"other": [-Infinity]}', 'line 1 has -Infinity', id='infinity'
        ),
        pytest.param(
            b'{"name": "", "place": 1e7}', r'<= 1000000.*place', id='far'
        ),
        pytest.param(
            b'{"name": "", "place": %b}' % (b'9' * 5000),
            'Number out of range',
            id='digits',
        ),
        *(
            pytest.param(
                b'{"name": "", "more": %b%b}' % (b'[' * n, b']' * n),
                '^it is nested too deep$',
                id=f'nested-{n}',
            )
            for n in (1000, 100_000)
        ),
    ],
)
def test_what_is_refused(data, reason):
    with pytest.raises(ValueError, match=reason):
        decode_json(data, Thing)


@pytest.mark.parametrize('depth', [1000, 100_000])
def test_nested_values_are_refused_as_values(depth):
    with pytest.raises(ValueError, match=r'^it is nested too deep$'):
        decode_json(b'[' * depth + b']' * depth, list)


def test_long_numbers_are_refused_as_values():
    with pytest.raises(ValueError, match='out of range'):
        decode_json(b'[%b]' % (b'9' * 5000), list)
