"""JSON files, read and checked in one way."""

import codecs
import re
from typing import Annotated, TypeVar

import msgspec

from mmseg_ext.utils.text import decode_text

__all__ = ['Coordinate', 'Side', 'decode_json']

Kind = TypeVar('Kind')

#: A coordinate in pixels. Pillow and pycocotools draw with 32-bit integers;
#: no image is so large.
Coordinate = Annotated[float, msgspec.Meta(ge=-1e6, le=1e6)]

#: Where msgspec finds what is no JSON, and numbers that Python writes.
_AT = re.compile(r'\(byte (\d+)\)')
_NO_NUMBER = re.compile(rb'-?(?:NaN|Infinity)')

#: A width or height in pixels. JSON has integers of thousands of digits.
Side = Annotated[int, msgspec.Meta(ge=0, le=1 << 32)]


def decode_json(data: bytes, kind: type[Kind], *, strict: bool = True) -> Kind:
    """Decode a JSON file in UTF-8, with or without a BOM.

    Args:
        data: Its content.
        kind: What it should be; msgspec checks that. Other fields are not
            read.
        strict: Whether numbers may not be written as texts.

    Raises:
        ValueError: It is no JSON, of another form or encoding, nested too
            deep, or has a number that is too large. The message calls the
            file "it": the caller names it.
    """
    data = data.removeprefix(codecs.BOM_UTF8)
    try:
        return msgspec.json.decode(data, type=kind, strict=strict)
    except RecursionError:
        reason = 'it is nested too deep'
    except ValueError as error:
        decode_text(data, 'it')  # raises for another encoding
        reason = _no_number(data, str(error)) or str(error)
    raise ValueError(reason)


def _no_number(data: bytes, error: str) -> str | None:
    """Name a NaN or an infinity, at which msgspec stops, if that is one."""
    at = _AT.search(error)
    start = max(int(at[1]) - 1, 0) if at else len(data)  # the sign is before
    if not (found := _NO_NUMBER.search(data, start, start + len('-Infinity'))):
        return None
    line = data.count(b'\n', 0, found.start()) + 1
    return (
        f'line {line} has {found[0].decode()}, which is no number in JSON; '
        'expected a number'
    )
