"""Text in pictures, in the fonts that have its characters.

Pillow's own font has little more than ASCII. Matplotlib brings DejaVu Sans,
with the alphabets of Europe and Arabic; all others are fonts of the system.
"""

import functools
import sys
import unicodedata
from bisect import bisect_left
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from PIL import ImageDraw, ImageFont, features
from tqdm import tqdm

__all__ = [
    'FontSet',
    'draw_text',
    'font_families',
    'shorten',
    'system_fonts',
    'text_length',
]

#: First words of the Unicode names of the characters in Noto's CJK fonts.
_EAST_ASIAN = {
    *('BOPOMOFO', 'CJK', 'FULLWIDTH', 'HANGUL', 'HIRAGANA', 'IDEOGRAPHIC'),
    *('KATAKANA', 'KATAKANA-HIRAGANA'),
}


class _Face(NamedTuple):
    """A font file.

    Attributes:
        path: The file; None for the font that Pillow has within itself.
        characters: What it can draw.
    """

    path: str | None
    characters: frozenset[str]


#: Of this font we only count on ASCII.
_PILLOW = _Face(None, frozenset(map(chr, range(32, 127))))


class FontSet:
    """Fonts of this system, looked for when a text needs them.

    Args:
        files: Paths of fonts, the better ones first; by default those of
            :func:`system_fonts`.
    """

    def __init__(self, files: Iterable[str] | None = None) -> None:
        self._files = None if files is None else list(files)
        self._faces: list[_Face] = []
        self._absent: set[str] = set()
        self._told: set[str] = set()

    def runs(self, text: str) -> list[tuple[str, str | None]]:
        """Divide a text by the fonts that have its characters.

        A character that no font has is drawn as a box, and so are letters
        that have to be joined without the library for it. The first time, a
        line on standard error says what brings them.

        Args:
            text: Shown as one line.

        Returns:
            Parts of the text and the font file of each, None for Pillow's
            own. It is one part where one font has all.
        """
        text = ' '.join(text.splitlines())
        if text.isascii():
            return [(text, None)]
        needed = _visible(text)
        self._tell_if_not_joined(text)
        self._find(text, needed)
        # Those that have more of the text come first.
        faces = sorted(
            [_PILLOW, *self._faces],
            key=lambda face: -len(needed & face.characters),
        )
        runs: list[tuple[str, _Face]] = []
        for character in text:
            face = runs[-1][1] if runs else faces[0]
            if character in needed and character not in face.characters:
                having = (f for f in faces if character in f.characters)
                face = next(having, face)
            if runs and face is runs[-1][1]:
                runs[-1] = (runs[-1][0] + character, face)
            else:
                runs.append((character, face))
        return [(part, face.path) for part, face in runs]

    def _find(self, text: str, needed: set[str]) -> None:
        """Find fonts that have characters which those found so far lack."""
        if not self._faces:
            self._faces += _readable([_dejavu()])
        missing = needed - self._absent
        for known in (_PILLOW, *self._faces):
            missing = missing - known.characters
        while missing:
            if self._files is None:
                self._files = system_fonts()
            face = max(
                _readable(self._files),
                key=lambda face: len(missing & face.characters),
                default=_PILLOW,
            )
            if not missing & face.characters:
                break
            self._faces.append(face)
            missing -= face.characters
        self._absent |= missing
        for package in sorted(set(map(_package, missing))):
            self._tell(
                package,
                f'no font here has all characters of {text!r}, so boxes are '
                'drawn instead; a font package for its script brings them, '
                f"such as {package} of Debian and Ubuntu, or Noto's fonts "
                'elsewhere',
            )

    def _tell_if_not_joined(self, text: str) -> None:
        """Say once that letters are drawn side by side as they are typed."""
        if not features.check('raqm') and any(map(_is_joined, text)):
            self._tell(
                'raqm',
                f'the letters of {text!r} are neither joined nor in their '
                'order, since this Pillow lacks Raqm; the wheels of Pillow '
                'have it, and need the library FriBiDi (libfribidi0 of Debian '
                'and Ubuntu)',
            )

    def _tell(self, key: str, line: str) -> None:
        """Write a line of warning on standard error, once for each key."""
        if key not in self._told:
            self._told.add(key)
            # Not through a progress bar.
            tqdm.write(f'WARNING: {line}', file=sys.stderr)


def _visible(text: str) -> set[str]:
    """Return the characters of a text that a font has to have."""
    return {c for c in text if unicodedata.category(c)[0] != 'C'}


def _is_joined(character: str) -> bool:
    """Return whether a character is not just drawn to the right of others."""
    from_the_right = unicodedata.bidirectional(character) in ('R', 'AL')
    return from_the_right or unicodedata.category(character) in ('Mn', 'Mc')


def _package(character: str) -> str:
    """Return the Debian package of fonts that has a character."""
    script = unicodedata.name(character, '').split(' ')[0]
    return 'fonts-noto-' + ('cjk' if script in _EAST_ASIAN else 'core')


def _dejavu() -> str:
    """Return the path of the font that Matplotlib brings."""
    # Takes a while, and few texts need it.
    import matplotlib

    folder = Path(matplotlib.get_data_path(), 'fonts', 'ttf')
    return str(folder / 'DejaVuSans.ttf')


def system_fonts() -> list[str]:
    """Return the font files of this system, plain ones without serifs first.

    Fonts of last resort, which have boxes for all characters, are left out.
    """
    from matplotlib.font_manager import findSystemFonts

    def order(path: str) -> tuple[bool, bool, str]:
        name = Path(path).name.lower()
        return 'sans' not in name, 'regular' not in name, path

    files = (f for f in findSystemFonts() if 'lastresort' not in f.lower())
    return sorted(files, key=order)


def _readable(files: Iterable[str]) -> Iterator[_Face]:
    """Yield the fonts that can be drawn at any size."""
    from matplotlib.ft2font import FT2Font

    for path in files:
        try:
            font = FT2Font(path)
            ImageFont.truetype(path, 12)
        # Matplotlib raises either of them, by its release.
        except (OSError, RuntimeError):
            continue
        if font.scalable:
            yield _Face(path, frozenset(map(chr, font.get_charmap())))


@functools.cache
def _fonts() -> FontSet:
    """Return the fonts of this process."""
    return FontSet()


@functools.cache
def _load(path: str | None, size: int) -> ImageFont.FreeTypeFont:
    """Return a font of a size in pixels."""
    if path is not None:
        return ImageFont.truetype(path, size)
    font = ImageFont.load_default(size)
    assert isinstance(font, ImageFont.FreeTypeFont)
    return font


def text_length(text: str, size: int) -> float:
    """Return the length of a line of text in pixels.

    Args:
        text: One line.
        size: Height of the font in pixels.
    """
    runs = _fonts().runs(text)
    return sum(_load(path, size).getlength(part) for part, path in runs)


def shorten(text: str, size: int, length: float) -> str:
    """Return a text that is no longer, without its middle where it would be.

    Args:
        text: One line.
        size: Height of the font in pixels.
        length: The most pixels; there is room for an ellipsis.
    """
    if text_length(text, size) <= length:
        return text

    def keeping(count: int) -> str:
        start = count // 2
        return f'{text[:start]}…{text[len(text) - count + start :]}'

    def too_long(count: int) -> bool:
        return text_length(keeping(count), size) > length

    count = bisect_left(range(1, len(text)), True, key=too_long)
    return keeping(count)


def font_families(texts: Iterable[str]) -> list[str]:
    """Return what Matplotlib takes as families of fonts for some texts.

    Args:
        texts: Lines of text.

    Returns:
        Its own setting, and behind it the fonts for what that may lack.
    """
    from matplotlib import rcParams
    from matplotlib.font_manager import FontProperties, fontManager

    runs = [run for text in texts for run in _fonts().runs(text)]
    paths = list(dict.fromkeys(path for _, path in runs if path))
    for path in paths:
        fontManager.addfont(path)
    names = [FontProperties(fname=path).get_name() for path in paths]
    return [*rcParams['font.family'], *names]


def draw_text(
    draw: ImageDraw.ImageDraw,
    position: tuple[float, float],
    text: str,
    color: tuple[int, ...],
    size: int,
    middle: bool = False,
    edge: tuple[int, ...] | None = None,
) -> None:
    """Draw a line of text.

    Args:
        draw: The picture.
        position: x and y of the left end, in pixels.
        text: One line.
        color: RGB, 0 to 255.
        size: Height of the font in pixels.
        middle: ``position`` is at half the height of the text, not at its
            top.
        edge: Color of an edge around the letters.
    """
    x, y = position
    ascent, descent = _load(None, size).getmetrics()
    # As Pillow rounds the half.
    baseline = y + ((ascent - descent + 1) // 2 if middle else ascent)
    width = 0 if edge is None else 1
    for part, path in _fonts().runs(text):
        font = _load(path, size)
        # All fonts stand on one line.
        draw.text(
            (x, baseline),
            part,
            color,
            font,
            'ls',
            stroke_width=width,
            stroke_fill=edge,
        )
        x += font.getlength(part)
