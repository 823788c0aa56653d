"""JSON files, read and checked in one way."""

import codecs
from typing import Annotated, TypeVar

import msgspec

from mmseg_ext.utils.text import decode_text

__all__ = ['Coordinate', 'Side', 'decode_json']

Kind = TypeVar('Kind')

#: A coordinate in pixels. Pillow and pycocotools draw with 32-bit integers;
#: no image is so large.
Coordinate = Annotated[float, msgspec.Meta(ge=-1e6, le=1e6)]

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
    try:
        return msgspec.json.decode(
            data.removeprefix(codecs.BOM_UTF8), type=kind, strict=strict
        )
    except RecursionError:
        reason = 'it is nested too deep'
    except ValueError as error:
        decode_text(data, 'it')  # raises for another encoding
        reason = str(error)
    raise ValueError(reason)
