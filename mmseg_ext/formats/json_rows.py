"""Rows of a big JSON table, one at a time."""

import codecs
import json
import os
import re
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from mmseg_ext.utils.files import open_file
from mmseg_ext.utils.text import decode_text

__all__ = ['CHUNK', 'Row', 'iter_rows']

#: Bytes read at once.
CHUNK = 1 << 22

#: A row that is longer is taken for a broken one.
_LONGEST_ROW = 1 << 26

_WHITESPACE = ' \t\r\n'

#: A text, which may be cut off, or a bracket.
_MARKS = re.compile(r'"[^"\\]*(?:\\.[^"\\]*)*"?|[][{}]', re.DOTALL)


class Row(NamedTuple):
    """One row of a table.

    Attributes:
        start: Offset in the file of its first byte.
        raw: The bytes of the row, UTF-8 JSON.
    """

    start: int
    raw: bytes


def iter_rows(
    path: str | os.PathLike, on_chunk: Callable[[bytes], Any] | None = None
) -> Iterator[Row]:
    """Yield the rows of a JSON file that is one list of objects.

    The file is read once, part by part: memory does not grow with it.

    Args:
        path: The file.
        on_chunk: Called with each part of the file as it is read.

    Yields:
        The rows in order.

    Raises:
        OSError: It cannot be read.
        ValueError: It is not a list of objects, ends early, or is not encoded
            as UTF-8.
    """
    with open_file(path) as file:
        yield from _Parser(file.read, on_chunk or len, path).rows()


class _Parser:
    """The part of the text that is not parsed yet."""

    # Latin-1 turns each byte into one character, so that positions in the
    # text are positions in the file; JSON's own signs are ASCII.

    def __init__(
        self,
        read: Callable[[int], bytes],
        on_chunk: Callable[[bytes], Any],
        path: str | os.PathLike,
    ) -> None:
        self.read, self.on_chunk, self.path = read, on_chunk, path
        self.text, self.offset, self.at = '', 0, 0
        # What numbers say is not needed, and large ones are refused.
        self.decode = json.JSONDecoder(parse_int=len).raw_decode

    def rows(self) -> Iterator[Row]:
        self.skip_bom()
        self.expect('[', 'the list of rows')
        if self.next_sign() == ']':
            self.at += 1
        else:
            yield self.row()
            while self.expect(',]', 'the next row') == ',':
                self.next_sign()
                yield self.row()
        if rest := self.next_sign():
            raise self.error(f'{rest!r} after the end of the list')

    def row(self) -> Row:
        """Parse the row that starts here."""
        if (sign := self.next_sign()) != '{':
            raise self.error(f'expected a row, an object in braces: {sign!r}')
        while True:
            try:
                _, stop = self.decode(self.text, self.at)
                break
            except RecursionError:
                # Who decodes the row will refuse it, and may pass over it.
                if stop := self.end_of_row():
                    break
                self.read_on('too long')
            except json.JSONDecodeError as error:
                # A row that goes on in the next chunk looks broken too.
                self.read_on(error.msg)
        raw = self.text[self.at : stop].encode('latin-1')
        row = Row(self.offset + self.at, raw)
        self.at = stop
        return row

    def read_on(self, fault: str) -> None:
        """Read the next chunk for a row that seems to go on there."""
        too_long = len(self.text) - self.at > _LONGEST_ROW
        if too_long or not self.more():
            raise self.error(
                f'the row is no JSON or the file ends in it ({fault})'
            ) from None

    def end_of_row(self) -> int:
        """Find where the brackets of the row are closed; 0 if nowhere yet."""
        depth = 0
        for mark in _MARKS.finditer(self.text, self.at):
            depth += (mark[0] in '[{') - (mark[0] in ']}')
            if not depth:
                return mark.end()
        return 0

    def skip_bom(self) -> None:
        """Pass over the mark of UTF-8; refuse those of other encodings."""
        while len(self.text) < len(codecs.BOM_UTF8) and self.more():
            pass
        start = self.text[: len(codecs.BOM_UTF8)].encode('latin-1')
        if start == codecs.BOM_UTF8:
            self.at = len(start)
        elif start.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
            decode_text(start, self.path)

    def expect(self, signs: str, what: str) -> str:
        sign = self.next_sign()
        if not sign or sign not in signs:
            raise self.error(
                f'expected {" or ".join(signs)} for {what}, got '
                + (repr(sign) if sign else 'the end of the file')
            )
        self.at += 1
        return sign

    def next_sign(self) -> str:
        """Go to the next sign that is no white space; '' at the end."""
        while True:
            while self.at < len(self.text):
                if self.text[self.at] not in _WHITESPACE:
                    return self.text[self.at]
                self.at += 1
            if not self.more():
                return ''

    def more(self) -> bool:
        """Read the next chunk and drop what was parsed."""
        chunk = self.read(CHUNK)
        self.on_chunk(chunk)
        self.text = self.text[self.at :] + chunk.decode('latin-1')
        self.offset += self.at
        self.at = 0
        return bool(chunk)

    def error(self, reason: str) -> ValueError:
        return ValueError(
            f'{self.path}: byte {self.offset + self.at}: {reason}; expected '
            'a JSON list of objects: copy or download the file again'
        )
