"""The page of a comparison, as text and in a browser."""

import re
import shutil

import numpy as np
import pytest

from helpers.compared_runs import draw_labels, spoil, write_run
from mmseg_ext.report.compare_page import compare_runs_to_page

EVIL = '<script>alert(1)</script>'


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def write_pair(root, labels, first, second, classes=3, **options):
    """Write two runs; return their folders."""
    return [
        write_run(root / name, labels, each, classes, **options)
        for name, each in (('a', first), ('b', second))
    ]


@pytest.fixture
def pair(rng, tmp_path):
    labels = draw_labels(rng, 24)
    first, second = (spoil(rng, labels, share) for share in (0.5, 0.3))
    names = [f'{EVIL}/{k}.png' for k in range(24)]
    classes = ('sky', EVIL, 'road')
    return write_pair(tmp_path, labels, first, second, classes, names=names)


def test_a_page_says_which_is_better(pair, tmp_path):
    out = tmp_path / 'new' / 'compare.html'
    verdict, notes = compare_runs_to_page(*pair, out)
    assert re.fullmatch(
        r'B is better: mIoU goes from \d\d\.\d\d to \d\d\.\d\d %, '
        r'\+\d+\.\d\d points \(95 % interval \+[\d.]+ to \+[\d.]+\)\.',
        verdict,
    )
    page = out.read_text()
    assert verdict in page
    assert len(notes) == 1
    assert page.count('<script') == 1
    assert '&lt;script&gt;' in page
    for section in ('classes', 'kinds', 'images', 'won'):
        assert f'id="{section}"' in page
    assert page.count('prediction of A, ') >= 6
    turned = tmp_path / 'turned.html'
    verdict, _ = compare_runs_to_page(*pair[::-1], turned)
    assert verdict.startswith('B is worse: mIoU')


def test_the_same_run_twice(pair, tmp_path):
    out = tmp_path / 'compare.html'
    verdict, _ = compare_runs_to_page(pair[0], pair[0], out)
    assert verdict.startswith('No difference: mIoU is ')
    page = out.read_text()
    assert 'id="won"' not in page
    assert 'id="lost"' not in page


def test_pictures_that_cannot_be_drawn(pair, tmp_path):
    """They are left out, and said."""
    out = tmp_path / 'compare.html'
    shutil.rmtree(pair[0] / 'photos')
    _, notes = compare_runs_to_page(*pair, out)
    told = [note for note in notes if 'without the photograph' in note]
    assert len(told) == 1
    assert 'photos' in told[0]
    assert 'the image cannot be read' in out.read_text()
    shutil.rmtree(pair[1] / 'maps')
    _, notes = compare_runs_to_page(*pair, out)
    assert any('for want of their label maps' in note for note in notes)
    assert 'id="won"' not in out.read_text()


def test_a_folder_in_the_place_of_the_page(pair, tmp_path):
    with pytest.raises(IsADirectoryError, match='is a folder; expected'):
        compare_runs_to_page(*pair, tmp_path)


def square(value, size=(6, 8)):
    return np.full(size, value, np.uint8)


@pytest.mark.parametrize(
    ('labels', 'first', 'second', 'classes', 'start'),
    [
        pytest.param(
            [square(0)], [square(0)], [square(1)], 2, 'mIoU goes', id='one'
        ),
        pytest.param(
            [square(0)] * 3,
            [square(0)] * 3,
            [square(0)] * 3,
            1,
            'No difference',
            id='one class, no errors',
        ),
        pytest.param(
            [square(255)] * 2,
            [square(0)] * 2,
            [square(1)] * 2,
            3,
            'There is no mIoU',
            id='all ignored',
        ),
        pytest.param(
            [square(200), square(3)],
            [square(200), square(4)],
            [square(250), square(3)],
            300,
            'No difference',
            id='300 classes',
        ),
    ],
)
def test_odd_runs(tmp_path, browser, labels, first, second, classes, start):
    pair = write_pair(tmp_path, labels, first, second, classes)
    out = tmp_path / 'compare.html'
    verdict, _ = compare_runs_to_page(*pair, out)
    assert verdict.startswith(start)
    shown = out.read_text().partition('<script>')[0]
    assert not re.search(r'\bnan\b', shown, re.I)
    browser.open(out)
    assert browser.complaints() == []


@pytest.mark.parametrize('scheme', ['light', 'dark'])
def test_in_a_browser(pair, tmp_path, browser, scheme):
    out = tmp_path / 'compare.html'
    compare_runs_to_page(*pair, out)
    browser.open(out, scheme=scheme)
    assert browser.complaints() == []
    asked = {url.split(':')[0] for url in browser.requests()}
    assert asked <= {'file', 'data'}
    # The images, by what they won: the last table.
    rows = (
        "[...[...document.querySelectorAll('table')].at(-1).tBodies[0].rows]"
        '.map(row => Number(row.cells[3].dataset.value))'
    )
    before = browser.run(rows)
    assert before == sorted(before, reverse=True)
    browser.run(
        "[...document.querySelectorAll('table')].at(-1).tHead.rows[0]"
        '.cells[3].click()'
    )
    assert browser.run(rows) == sorted(before)
    browser.run("document.querySelector('.zoom').click()")
    assert browser.run("document.querySelector('dialog').open") is True
    assert browser.complaints() == []
