import warnings
from io import BytesIO

import matplotlib
import numpy as np
import pytest
from fontTools.fontBuilder import FontBuilder
from fontTools.pens.ttGlyphPen import TTGlyphPen
from matplotlib import font_manager
from PIL import Image, ImageDraw, ImageFont, features

from mmseg_ext.visualization import fonts
from mmseg_ext.visualization.class_iou import ClassIoU, draw_class_iou
from mmseg_ext.visualization.fonts import (
    FontSet,
    draw_text,
    shorten,
    system_fonts,
    text_length,
)
from mmseg_ext.visualization.panel import Style, draw_panel

#: Widths of the characters of a font, whose glyphs are black blocks from the
#: base line up, in thousandths of its height.
CHINESE = {'干': 1000, '净': 500, '道': 250}
HINDI = {'स': 500, 'ड': 500, '़': 0, 'क': 500}


def write_font(path, widths, height=600):
    builder = FontBuilder(1000, isTTF=True)
    names = {character: f'u{ord(character)}' for character in widths}
    glyphs = {'.notdef': TTGlyphPen(None).glyph()}
    for character, width in widths.items():
        pen = TTGlyphPen(None)
        pen.moveTo((0, 0))
        for corner in ((0, height), (width, height), (width, 0)):
            pen.lineTo(corner)
        pen.closePath()
        glyphs[names[character]] = pen.glyph()
    builder.setupGlyphOrder(list(glyphs))
    builder.setupCharacterMap({ord(c): n for c, n in names.items()})
    builder.setupGlyf(glyphs)
    widths = {'.notdef': 1000, **{names[c]: w for c, w in widths.items()}}
    builder.setupHorizontalMetrics({n: (w, 0) for n, w in widths.items()})
    builder.setupHorizontalHeader(ascent=800, descent=-200)
    builder.setupNameTable({'familyName': path.stem, 'styleName': 'Regular'})
    builder.setupOS2()
    builder.setupPost()
    builder.save(path)
    return str(path)


@pytest.fixture
def chinese(tmp_path):
    return write_font(tmp_path / 'Chinese.ttf', CHINESE)


@pytest.fixture
def hindi(tmp_path):
    return write_font(tmp_path / 'Hindi.ttf', HINDI)


@pytest.fixture
def only_chinese(chinese, monkeypatch):
    """Make the font for Chinese the only one of the system."""
    found = FontSet([chinese])
    monkeypatch.setattr(fonts, '_fonts', lambda: found)
    return chinese


def dejavu():
    return f'{matplotlib.get_data_path()}/fonts/ttf/DejaVuSans.ttf'


@pytest.mark.parametrize(
    ('text', 'expected'),
    [
        ('', [('', None)]),
        ('road 7', [('road 7', None)]),
        ('Straße', [('Straße', 'dejavu')]),
        ('дорога', [('дорога', 'dejavu')]),
        ('طريق 7', [('طريق 7', 'dejavu')]),
        ('干净', [('干净', 'chinese')]),
        ('干净 road', [('干净', 'chinese'), (' road', None)]),
        ('a_सड़क.png', [('a_', None), ('सड़क', 'hindi'), ('.png', None)]),
        ('सड़क干', [('सड़क', 'hindi'), ('干', 'chinese')]),
        # Joiners have no glyph of their own.
        ('स\u200dड', [('स\u200dड', 'hindi')]),
        ('two\nlines ß', [('two lines ß', 'dejavu')]),
    ],
)
def test_each_part_has_a_font_with_its_characters(
    tmp_path, capsys, chinese, hindi, text, expected
):
    (tmp_path / 'broken.ttf').write_bytes(b'\0\1\0\0')
    files = [str(tmp_path / 'broken.ttf'), '/gone.ttf', hindi, chinese]
    paths = dict(chinese=chinese, hindi=hindi, dejavu=dejavu())
    runs = FontSet(files).runs(text)
    assert runs == [(part, paths.get(name)) for part, name in expected]
    if features.check('raqm'):
        assert capsys.readouterr().err == ''


def test_missing_fonts_are_told_once(capsys, monkeypatch, hindi):
    monkeypatch.setattr(fonts.features, 'check', lambda _: True)
    found = FontSet([hindi])
    for text in ('road', '道路', '干净', 'कसड़', '한국'):
        found.runs(text)
    [line] = capsys.readouterr().err.splitlines()
    assert "characters of '道路', so boxes" in line
    assert 'such as fonts-noto-cjk of Debian' in line
    # In boxes, of a font that is there.
    assert found.runs('道路') == [('道路', None)]
    found.runs('ถนน')
    [line] = capsys.readouterr().err.splitlines()
    assert "'ถนน'" in line
    assert 'fonts-noto-core' in line


def test_letters_that_are_not_joined_are_told_once(capsys, monkeypatch):
    monkeypatch.setattr(fonts.features, 'check', lambda _: False)
    found = FontSet([])
    found.runs('Straße')
    assert capsys.readouterr().err == ''
    for _ in range(2):
        found.runs('طريق')
    [line] = capsys.readouterr().err.splitlines()
    assert "'طريق' are neither joined" in line
    assert 'Raqm' in line


def test_plain_fonts_come_first(monkeypatch):
    files = ['B-Sans-Bold.ttf', 'A-Serif.ttf', 'LastResort.otf']
    files += ['D-Sans-Regular.ttf', 'C-Sans-Regular.ttc', 'E-Regular.otf']
    monkeypatch.setattr(
        font_manager, 'findSystemFonts', lambda: [f'/x/{f}' for f in files]
    )
    assert system_fonts() == [
        '/x/C-Sans-Regular.ttc',
        '/x/D-Sans-Regular.ttf',
        '/x/B-Sans-Bold.ttf',
        '/x/E-Regular.otf',
        '/x/A-Serif.ttf',
    ]


def columns(text, size):
    """Number of black pixels in each column of a drawn text."""
    canvas = Image.new('RGB', (6 * size, 3 * size), 'white')
    draw_text(ImageDraw.Draw(canvas), (size, size), text, (0, 0, 0), size)
    return (np.asarray(canvas)[..., 0] < 128).sum(axis=0).tolist()


def test_characters_are_drawn_with_the_font(only_chinese):
    size = 20
    blocks = [12] * 20 + [12] * 10
    expected = [0] * 20 + blocks
    assert columns('干净', size) == expected + [0] * (120 - len(expected))
    assert text_length('干净', size) == 30
    # Behind letters of another font, on their line.
    before = columns('H', size)
    offset = round(size + text_length('H', size))
    mixed = columns('H干', size)
    assert mixed[: offset - 1] == before[: offset - 1]
    assert mixed[offset + 1 : offset + 19] == [12] * 18


@pytest.mark.skipif(not features.check('raqm'), reason='needs Raqm')
def test_arabic_is_joined():
    text, size = 'طريق', 40
    letters = sum(text_length(letter, size) for letter in text)
    font = ImageFont.truetype(dejavu(), size)
    assert text_length(text, size) == font.getlength(text) < letters


def test_names_in_panel_and_diagram(only_chinese):
    names = ['干', '净']
    style = Style(names, np.full((256, 3), 200, np.uint8))
    widths = []
    for index in (0, 1):
        image = np.full((40, 60, 3), 200, np.uint8)
        maps = {'prediction': np.full((40, 60), index, np.uint8)}
        panel = draw_panel('a.png', image, maps, style)
        legend = panel[-22:, 34:, 0] < 128
        widths.append(int(legend.any(axis=0).sum()))
    # Letters of 15 pixels.
    assert widths == pytest.approx([15, 7.5], abs=1)

    figure = draw_class_iou(ClassIoU({'干净 a': 50.0, 'b': 1.0}, None, 'x'))
    with warnings.catch_warnings():
        # That there is no glyph.
        warnings.simplefilter('error')
        figure.savefig(BytesIO(), format='png')


@pytest.mark.parametrize('text', ['a' * 300 + '.png', 'ab', 'ä' * 40])
@pytest.mark.parametrize('length', [5000, 200, 31])
def test_long_texts_lose_their_middle(text, length):
    short = shorten(text, 15, length)
    assert text_length(short, 15) <= length
    if text_length(text, 15) <= length:
        assert short == text
        return
    start, end = short.split('…')
    assert text.startswith(start)
    assert text.endswith(end)
    assert len(end) - len(start) in (0, 1)
    longer = f'{start}…{text[len(text) - len(end) - 1 :]}'
    assert text_length(longer, 15) > length
