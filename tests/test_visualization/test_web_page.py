"""Pages that need nothing else, also in a browser."""

import base64
import hashlib
import io
import re
from html.parser import HTMLParser

import jinja2
import numpy as np
import pytest
from PIL import Image

from mmseg_ext.visualization.web_page import (
    Bar,
    BarChart,
    Cell,
    Dot,
    DotChart,
    Interval,
    IntervalChart,
    Line,
    LineChart,
    Picture,
    Table,
    brief,
    hex_color,
    jpeg_uri,
    number_cell,
    png_uri,
    render_page,
    webp_uri,
    write_page,
)

HOSTILE = [
    pytest.param('<script>alert(1)</script>', id='script'),
    pytest.param('"><img src=x onerror=alert(1)>', id='quotes'),
    pytest.param("' onmouseover='alert(1)", id='apostrophe'),
    pytest.param('{{ 7 * 7 }}{% raw %}', id='template'),
    pytest.param('</td></table></main>', id='tags'),
    pytest.param('data:,<b>"', id='data'),
    pytest.param('улица 道路 רחוב طريق', id='scripts of the world'),
]

TEMPLATE = """\
{% extends 'page.html' %}
{% import 'parts.html' as parts %}
{% block title %}{{ name }}{% endblock %}
{% block main %}
<h1>{{ name }}</h1>
{% if table %}{{ parts.table(table) }}{% endif %}
{% if matrix %}{{ parts.matrix(matrix) }}{% endif %}
{% if sorted %}{{ parts.matrix(sorted, corner) }}{% endif %}
{% if pictures %}{{ parts.pictures(pictures) }}{% endif %}
{% if bars %}{{ parts.bar_chart(bars) }}{% endif %}
{% if wide %}{{ parts.pictures(wide, 'wide') }}{% endif %}
{% if stack %}{{ parts.bar_chart(stack) }}{% endif %}
{% if dots %}{{ parts.dot_chart(dots) }}{% endif %}
{% if spans %}{{ parts.interval_chart(spans) }}{% endif %}
{% if lines %}{{ parts.line_chart(lines) }}{% endif %}
{% endblock %}
"""

WORDS = ['b10', 'b9', 'ä', 'A', 'c', 'a']
NUMBERS = [10, 9, 100, None, -3, 2.5]


@pytest.fixture
def template(tmp_path):
    path = tmp_path / 'templates' / 'some.html'
    path.parent.mkdir()
    path.write_text(TEMPLATE)
    return path


def values(**given):
    parts = [
        *('table', 'matrix', 'sorted', 'corner', 'pictures', 'wide'),
        *('bars', 'stack', 'dots', 'spans', 'lines'),
    ]
    return {'name': 'a page', **dict.fromkeys(parts), **given}


class Elements(HTMLParser):
    """The elements of a page, and the texts between them."""

    def __init__(self, page):
        super().__init__()
        self.elements, self.texts = [], []
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))

    def handle_data(self, data):
        self.texts.append(data.strip())

    def tags(self):
        return [tag for tag, _ in self.elements]


def everything(name):
    """Return values that have a text wherever one can be."""
    picture = np.zeros((4, 4, 3), np.uint8)
    return values(
        name=name,
        table=Table(name, [name, 'n'], [[Cell(name), number_cell(1234)]], 3),
        matrix=Table(name, [name], [[Cell(name), Cell(name, kind='heat3')]]),
        pictures=[
            Picture(
                [png_uri(picture), None],
                [name, name],
                name,
                name,
                [('#ff0000', name)],
            )
        ],
        bars=BarChart(name, [name, name], [Bar(name, [1, 2], [name, name])]),
        dots=DotChart(name, (name, name), [name], [Dot(1, 1, 1, 0, name)]),
        corner=name,
        sorted=Table(
            name,
            [name, name],
            [
                [Cell(name), Cell(name, 2, 'bad3'), Cell('')],
                [Cell('b'), Cell('10 %', 10), Cell('9 %', 9)],
                [Cell('c'), Cell('9 %', 9), Cell('10 %', 10)],
            ],
            left_out=2,
        ),
        wide=[
            Picture(
                [webp_uri(picture), None], [name] * 2, name, id='id'
            )._replace(heads=[name, name])
        ],
        stack=BarChart(
            name,
            [name, name],
            [Bar(name, [1, 2], [name, name])],
            stacked=True,
        ),
        spans=IntervalChart(name, [Interval(name, 1, 0, 2, name, '#00ff00')]),
        lines=LineChart(
            name,
            (name, name),
            [Line(name, [(0, 0), (1, 1)], marked=True)] * 2
            + [Line(name, [(0, 1), (1, 0)], dashed=True)],
        ),
    )


@pytest.mark.parametrize('name', HOSTILE)
def test_texts_are_texts(template, name):
    page = Elements(render_page(template, **everything(name)))
    plain = Elements(render_page(template, **everything('plain')))
    assert page.tags() == plain.tags()
    attributes = [set(each) for _, each in page.elements]
    assert attributes == [set(each) for _, each in plain.elements]
    assert page.texts.count(name) == plain.texts.count('plain')
    alts = [each['alt'] for tag, each in page.elements if tag == 'img']
    assert alts == [name] * 2


def test_names_that_no_file_can_hold(template, tmp_path):
    name = 'a\udcff\ud800\x00\u202e\nb'
    write_page(tmp_path / 'page.html', template, **everything(name))
    text = (tmp_path / 'page.html').read_bytes().decode()
    assert r'<h1>a\xff\ud800\x00\u202e\nb</h1>' in text


def test_long_names_are_cut(template):
    text = render_page(template, **everything('long ' * 2000))
    assert 'l…g' not in text
    assert len(text) < len(render_page(template, **everything('x'))) + 22_000


@pytest.mark.parametrize(
    ('text', 'most', 'expected'),
    [
        ('abcdef', 6, 'abcdef'),
        ('abcdefgh', 6, 'abc…fgh'),
        ('a\nb', 6, r'a\nb'),
        ('\udcff' * 10, 8, r'\xff…\xff'),
    ],
)
def test_brief(text, most, expected):
    assert brief(text, most) == expected


def test_policy_allows_its_own_style_and_script_alone(template):
    page = render_page(template, **values())
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', page)[1]
    policy = policy.replace('&#39;', "'")
    rules = dict(rule.split(' ', 1) for rule in policy.split('; '))
    for tag, rule in (('style', 'style-src'), ('script', 'script-src')):
        inner = re.search(f'<{tag}>(.*?)</{tag}>', page, re.DOTALL)[1]
        digest = hashlib.sha256(inner.encode()).digest()
        assert rules[rule] == f"'sha256-{base64.b64encode(digest).decode()}'"
    assert rules['default-src'] == "'none'"
    assert rules['img-src'] == 'data:'
    assert 'http' not in page.lower().replace('http-equiv', '')


def test_what_is_missing_fails_and_leaves_the_old_page(template, tmp_path):
    page = tmp_path / 'page.html'
    page.write_text('old')
    with pytest.raises(jinja2.UndefinedError, match="'name' is undefined"):
        write_page(page, template)
    assert page.read_text() == 'old'
    assert {path.name for path in tmp_path.iterdir()} == {
        'page.html',
        'templates',
    }


def test_pictures_are_what_was_given():
    image = np.zeros((4, 6, 3), np.uint8)
    image[..., 0], image[2:, :, 1] = 250, 120
    np.testing.assert_array_equal(decode(png_uri(image), 'png'), image)
    flat = np.full((16, 16, 3), (200, 40, 90), np.uint8)
    for uri, kind in ((jpeg_uri(flat), 'jpeg'), (webp_uri(flat), 'webp')):
        decoded = decode(uri, kind).astype(int)
        np.testing.assert_allclose(decoded, flat, atol=6)
    exact = decode(webp_uri(image, exact=True), 'webp')
    np.testing.assert_array_equal(exact, image)
    assert hex_color((1, 171, 255)) == '#01abff'


def decode(uri, kind):
    """Return a picture, RGB, as Pillow reads it."""
    head, _, data = uri.partition(',')
    assert head == f'data:image/{kind};base64'
    return np.array(Image.open(io.BytesIO(base64.b64decode(data))))


def chart(numbers, log):
    bars = [Bar(str(number), [number], ['']) for number in numbers]
    return BarChart('', ['train'], bars, '%', log)


def test_scale_of_powers():
    bars = chart([100, 1, 0.02, 0], log=True)
    assert bars.ends == (0.01, 100)
    places = [bars.place(value) for value in (100, 1, 0.1, 0.01, 0)]
    assert places == pytest.approx([1, 0.5, 0.25, 0.005, 0])
    ticks = {text: place for place, text in bars.ticks}
    assert ticks == pytest.approx(
        {'0.01 %': 0, '0.1 %': 0.25, '1 %': 0.5, '10 %': 0.75, '100 %': 1}
    )
    # What is smaller by a great deal does not take all the room.
    wide = chart([100, 1e-12], log=True)
    assert wide.ends == (1e-5, 100)
    assert wide.place(1e-12) == 0.005
    assert chart([100], log=True).ends == (10, 100)
    assert chart([0], log=True).ends == (0.1, 1)


def test_even_scale():
    bars = chart([46, 23, 0], log=False)
    assert [bars.place(value) for value in (46, 23, 0)] == [1, 0.5, 0]
    ticks = [text for _, text in bars.ticks]
    assert ticks == ['0 %', '10 %', '20 %', '30 %', '40 %']
    assert [text for _, text in chart([25e3], log=False).ticks] == [
        *('0 %', '5000 %', '10k %', '15k %', '20k %', '25k %')
    ]


def test_pieces_follow_one_another():
    bar = Bar('a', [50, 30, 20], [''] * 3)
    other = Bar('b', [10, 0, 40], [''] * 3)
    stacked = BarChart('', ['x', 'y', 'z'], [bar, other], stacked=True)
    assert stacked.ends == (0, 100)
    assert stacked.pieces(bar) == [(0, 0.5), (0.5, 0.3), (0.8, 0.2)]
    assert stacked.pieces(other) == [(0, 0.1), (0.1, 0), (0.1, 0.4)]
    beside = stacked._replace(stacked=False)
    assert beside.pieces(bar) == [(0, 1), (0, 0.6), (0, 0.4)]


NAN = float('nan')


@pytest.mark.parametrize(
    ('intervals', 'ends', 'ticks'),
    [
        pytest.param(
            [(40, 20, 60), (NAN, NAN, NAN)],
            (0, 60),
            ['0 %', '10 %', '20 %', '30 %', '40 %', '50 %', '60 %'],
            id='above 0',
        ),
        pytest.param(
            [(1, -2, 4), (-3, -4, 1)],
            (-4, 4),
            ['-4 %', '-2 %', '0 %', '2 %', '4 %'],
            id='both sides',
        ),
        pytest.param(
            [(-2, NAN, NAN)],
            (-2, 0),
            ['-2 %', '-1.5 %', '-1 %', '-0.5 %', '0 %'],
            id='below 0',
        ),
        pytest.param(
            [(NAN, NAN, NAN)],
            (0, 1),
            ['0 %', '0.2 %', '0.4 %', '0.6 %', '0.8 %', '1 %'],
            id='nothing',
        ),
    ],
)
def test_intervals(intervals, ends, ticks):
    rows = [Interval('', *numbers, '') for numbers in intervals]
    chart = IntervalChart('', rows, '%')
    assert chart.ends == ends
    assert [text for _, text in chart.ticks] == ticks
    assert chart.place(ends[0]) == 0
    assert chart.place(ends[1]) == 1
    assert chart.place(NAN) is None
    for place, text in chart.ticks:
        value = float(text.removesuffix(' %'))
        assert place == pytest.approx(chart.place(value))


def test_lines():
    line = Line('a', [(0, 0), (0.5, NAN), (1, 0.5)])
    chart = LineChart('', ('x', 'y'), [line])
    assert chart.places(line, 10, 20, 100, 200) == [(10, 220), (110, 120)]
    assert chart.path([(10, 220), (110.5, 120)]) == '10,220 110.5,120'
    assert [text for _, text in chart.ticks[0]] == [
        *('0', '0.2', '0.4', '0.6', '0.8', '1')
    ]
    wide = chart._replace(ends=((0, 10), (-1, 1)))
    assert wide.places(line, 0, 0, 100, 200) == [(0, 100), (10, 50)]
    assert [text for _, text in wide.ticks[1]][:2] == ['-1', '-0.5']


def test_a_long_line_is_not_cut(template):
    points = [(k / 1000, k / 1000) for k in range(1001)]
    chart = LineChart('', ('x', 'y'), [Line('a', points)])
    text = render_page(template, **values(lines=chart))
    drawn = re.search('points="([^"]*)"', text)[1]
    assert len(drawn.split()) == 1001


def test_small_dots():
    dots = [Dot(1, 2, amount, 0, '') for amount in (1, 9)]
    chart = DotChart('', ('x', 'y'), [''], dots, small=True)
    assert [chart.radius(dot) for dot in dots] == [0, 0]


def test_dots():
    dots = [Dot(200, 100, 4, 0, 'a'), Dot(100, 50, 1, 0, 'b')]
    dots = DotChart('', ('x', 'y'), ['train'], dots)
    assert dots.most == pytest.approx((220, 110))
    assert [dots.radius(dot) for dot in dots.dots] == [1, 0.5]
    assert [text for _, text in dots.ticks[0]] == [
        '0',
        '50',
        '100',
        '150',
        '200',
    ]


@pytest.fixture
def page(template, tmp_path):
    """A page with a table of each kind of cells, and a long one."""
    rows = [
        [Cell(word), Cell('') if n is None else Cell(f'{n} px', n)]
        for word, n in zip(WORDS, NUMBERS, strict=True)
    ]
    rows += [[Cell('z'), Cell('1000', 1000)]] * 20
    write_page(
        tmp_path / 'page.html',
        template,
        **everything('a name')
        | {'table': Table('words', ['word', 'number'], rows)},
    )
    return tmp_path / 'page.html'


SHOWN = """[...document.querySelector('table.sortable').tBodies[0].rows]
    .filter(row => row.offsetHeight)
    .map(row => row.cells[%d].textContent.trim())"""
HEADS = "document.querySelector('table.sortable').querySelectorAll('th')"


def test_a_table_sorts_when_its_head_is_clicked(browser, page):
    browser.open(page)
    assert browser.run(SHOWN % 1)[:6] == [
        *('10 px', '9 px', '100 px', '', '-3 px', '2.5 px')
    ]
    browser.run(f'{HEADS}[1].click()')
    upwards = ['-3 px', '2.5 px', '9 px', '10 px', '100 px']
    assert browser.run(SHOWN % 1)[:5] == upwards
    sorts = f"[...{HEADS}].map(head => head.getAttribute('aria-sort'))"
    assert browser.run(sorts) == ['none', 'ascending']
    # By the keyboard the button in the head is pressed.
    browser.run(f"{HEADS}[1].querySelector('button').click()")
    assert browser.run(sorts) == ['none', 'descending']
    browser.run("document.querySelector('button.more').click()")
    assert browser.run(SHOWN % 1) == ['1000'] * 20 + upwards[::-1] + ['']
    browser.run(f'{HEADS}[0].click()')
    assert browser.run(sorts) == ['ascending', 'none']
    assert browser.run(SHOWN % 0)[:7] == ['a', 'A', 'ä', 'b9', 'b10', 'c', 'z']
    assert browser.complaints() == []


def test_long_tables_are_folded(browser, page):
    browser.open(page)
    more = "document.querySelector('button.more')"
    assert len(browser.run(SHOWN % 0)) == 20
    assert browser.run(f'{more}.textContent') == 'Show all 26 rows'
    browser.run(f'{more}.click()')
    assert len(browser.run(SHOWN % 0)) == 26
    assert browser.run(f"{more}.getAttribute('aria-expanded')") == 'true'
    browser.run(f'{more}.click()')
    assert len(browser.run(SHOWN % 0)) == 20


def test_a_matrix_sorts_by_its_columns_and_names(browser, page):
    browser.open(page)
    matrix = "document.querySelector('table.matrix.sortable')"
    rows = f"""[...{matrix}.tBodies[0].rows].map(
        row => row.cells[0].textContent)"""
    for column, order in (
        (0, ['a name', 'b', 'c']),
        (1, ['a name', 'c', 'b']),
        (2, ['b', 'c', 'a name']),
    ):
        browser.run(f'{matrix}.tHead.rows[0].cells[{column}].click()')
        assert browser.run(rows) == order
    assert browser.complaints() == []


def test_a_click_enlarges_a_picture(browser, page):
    browser.open(page)
    dialog = "document.querySelector('dialog')"
    width = "document.querySelector('dialog img').clientWidth"
    assert browser.run(f'{dialog} === null')
    browser.run("document.querySelector('.wide .zoom').click()")
    assert browser.run(f'{dialog}.open')
    assert browser.run(width) > 1000
    assert browser.run("document.querySelector('dialog img').alt") == 'a name'
    first, second = browser.run(
        "[...document.querySelectorAll('.side img')].map(one => one.src)"
    )
    shown = "document.querySelector('dialog img').src"
    assert browser.run(shown) == second
    press(browser, 'ArrowLeft')
    assert browser.run(shown) == first
    press(browser, 'ArrowLeft')
    assert browser.run(shown) == second
    press(browser, 'Escape')
    assert browser.run(f'{dialog}.open') is False
    assert browser.complaints() == []


def test_pictures_are_enlarged_by_keyboard(browser, page):
    browser.open(page)
    browser.run("document.querySelector('.wide .zoom').focus()")
    press(browser, 'Enter', '\r')
    assert browser.run("document.querySelector('dialog').open")
    press(browser, 'Escape')
    focused = "document.activeElement.closest('.wide') !== null"
    assert browser.run(focused)


CODES = {'Enter': 13, 'Escape': 27, 'ArrowLeft': 37}


def press(browser, key, text=''):
    """Press a key and let it go, as a user does."""
    code = {'windowsVirtualKeyCode': CODES[key]}
    for kind in ('keyDown', 'keyUp'):
        given = {'text': text} if text and kind == 'keyDown' else {}
        browser.ask(
            *('Input.dispatchKeyEvent',), type=kind, key=key, **code, **given
        )


def test_the_page_asks_for_nothing(browser, page):
    browser.open(page)
    assert browser.complaints() == []
    asked = {url for url in browser.requests() if not url.startswith('data:')}
    assert asked == {page.as_uri()}
    widths = '[...document.images].map(image => image.naturalWidth)'
    assert browser.run(widths) == [4, 4]


def test_the_policy_forbids_requests(browser, page):
    """Whatever might get into a page, it cannot call home."""
    browser.open(page)
    refused = browser.run("""new Promise(done => {
        const found = [];
        addEventListener('securitypolicyviolation', event => {
            found.push(event.effectiveDirective);
            if (found.length === 3) done(found.sort());
        });
        document.body.append(
            Object.assign(new Image(), {src: 'http://127.0.0.1:9/a.png'}),
            Object.assign(document.createElement('script'), {text: 'x = 1'}));
        fetch('http://127.0.0.1:9/').catch(() => {});
    })""")
    assert refused == ['connect-src', 'img-src', 'script-src-elem']
    assert browser.run('typeof x') == 'undefined'


@pytest.mark.parametrize('width', [320, 1280])
def test_wide_parts_scroll_by_themselves(browser, page, width):
    browser.open(page, width)
    assert browser.run('document.documentElement.scrollWidth') <= width


def test_dark_and_light(browser, page):
    script = """['backgroundColor', 'color'].map(
        name => getComputedStyle(document.body)[name])"""
    seen = []
    for scheme in ('light', 'dark'):
        browser.open(page, scheme=scheme)
        colors = [
            sum(map(int, re.findall(r'\d+', color)[:3])) / 765
            for color in browser.run(script)
        ]
        seen.append(colors)
    (paper, ink), (dark_paper, dark_ink) = seen
    assert paper > 0.9 > 0.2 > ink
    assert dark_paper < 0.2 < 0.8 < dark_ink
