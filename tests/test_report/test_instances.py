"""The page of a detector's run, in numbers, in pictures and in a browser."""

import json
import re

import numpy as np
import pytest

from helpers.instance_runs import (
    detection,
    instances,
    label,
    random_instances,
    write_instance_run,
)
from helpers.run_pages import Page, decode
from mmseg_ext.report import instances as pages
from mmseg_ext.report.instance_scores import score
from mmseg_ext.report.instances import write_page
from mmseg_ext.report.write import write_report

BOX, FAR = [20, 20, 60, 60], [200, 150, 60, 60]

#: Of the picture of errors: found, missed, invented.
GREEN, ORANGE, PINK = (0, 158, 115), (230, 159, 0), (204, 51, 167)


def page_of(folder, **options):
    path = folder.parent / 'page.html'
    notes = write_page(folder, path, **options)
    return Page(path), notes


def scene(masks=False):
    """Return an image that is right, and one with an error of each kind."""
    return instances(
        [
            label(0, 0, BOX, masks),
            label(1, 0, BOX, masks),
            label(1, 1, FAR, masks),
            label(1, 0, [20, 150, 60, 60], masks),
        ],
        [
            detection(0, 0, BOX, 0.95, masks),
            detection(1, 0, BOX, 0.95, masks),
            detection(1, 0, FAR, 0.9, masks),
            detection(1, 1, [200, 20, 60, 60], 0.8, masks),
        ],
    )


@pytest.mark.parametrize('masks', [False, True], ids=['boxes', 'masks'])
def test_scores(tmp_path, masks):
    content = random_instances(masks=masks)
    write_instance_run(tmp_path / 'run', content, ('a', 'b', 'c'))
    page, notes = page_of(tmp_path / 'run')
    assert notes == []
    rows = page.table('AP', 'AP50', 'AR', '')
    kinds = ['segm', 'bbox'] if masks else ['bbox']
    assert [row[0] for row in rows] == ['masks', 'boxes'][-len(kinds) :]
    for kind, row in zip(kinds, rows, strict=True):
        expected = score(content, 3, kind).ap
        assert row[1:7] == [
            '' if np.isnan(each) else f'{100 * each:.1f} %'
            for each in expected
        ]
    scores = score(content, 3, kinds[0])
    classes = page.table('class', 'best score')
    assert [row[0] for row in classes] == ['a', 'b', 'c']
    for index, row in enumerate(classes[:2]):
        ap = 100 * scores.class_ap[index, 0]
        assert row[3].startswith(f'{ap:.1f} % (')
        low, high = re.search(r'\((.+) to (.+)\)', row[3]).groups()
        assert float(low) <= ap + 0.05
        assert ap <= float(high) + 0.05
    assert classes[2][1] == '0'
    assert classes[2][3] == 'absent'
    ids = ('summary', 'classes', 'curves', 'errors', 'confusions', 'images')
    assert {*ids, 'calibration', 'suspects'} <= {*page.ids}


def test_errors_and_confusions(tmp_path):
    write_instance_run(tmp_path / 'run', scene())
    page, _ = page_of(tmp_path / 'run')
    counts = {row[0]: row[2] for row in page.table('gain in AP50')}
    assert counts == {
        'class': '1',
        'place': '0',
        'class and place': '0',
        'twice': '0',
        'on nothing': '1',
        'not seen': '1',
    }
    assert page.table('label', 'missed') == [
        ['nail', '2', '0', '1'],
        ['thumb', '1', '0', '0'],
        ['no label', '0', '1', ''],
    ]
    [row] = page.table('label', 'detection')
    assert row == ['thumb', 'nail', '1', '100.0 %']
    rows = page.table('image', 'F1')
    assert [row[0] for row in rows] == ['1.png', '0.png']
    assert rows[0][1:] == ['3', '1', '2', '2', '33.3 %']
    assert rows[1][1:] == ['1', '1', '0', '0', '100.0 %']


def test_suspects(tmp_path):
    write_instance_run(tmp_path / 'run', scene())
    page, _ = page_of(tmp_path / 'run')
    assert 'Labels that may be missing: 1<' in page.text
    assert 'Labels that may be of the wrong class: 1<' in page.text
    notes = [' '.join(each['text'].split()) for each in page.figures]
    assert any('found: thumb with a score of 0.80' in each for each in notes)
    wrong = 'found: nail with a score of 0.90; label: thumb'
    # As a confusion as well.
    assert sum(wrong in each for each in notes) == 2


@pytest.mark.parametrize('masks', [False, True], ids=['boxes', 'masks'])
def test_pictures(tmp_path, masks):
    write_instance_run(tmp_path / 'run', scene(masks))
    page, _ = page_of(tmp_path / 'run')
    [worst] = [each for each in page.figures if each['id'] == 'image-1']
    assert [alt for alt, _ in worst['images']] == [
        f'{what} of 1.png'
        for what in ('image', 'labels', 'detections', 'errors')
    ]
    assert '1 found, 2 missed, 2 invented' in worst['text']
    image, *_, errors = (decode(uri) for _, uri in worst['images'])
    assert abs(image - 40).max() <= 4
    # Boxes are drawn on a picture of 400 pixels.
    scale = 400 / 320
    for (left, top, width, height), color in (
        (BOX, GREEN),
        (FAR, PINK),
        ([20, 150, 60, 60], ORANGE),
        ([200, 20, 60, 60], PINK),
    ):
        middle = round((left + width / 2) * scale)
        edge = errors[round((top + height) * scale) - 1 :][:3, middle]
        near = abs(edge - color).sum(1).min()
        other = min(
            abs(edge - each).sum(1).min()
            for each in (GREEN, ORANGE, PINK)
            if each != color
        )
        assert near < other
        center = errors[round((top + height / 2) * scale), middle]
        spread = center.max() - center.min()
        assert (spread > 20) == masks


def test_an_image_is_gone(tmp_path):
    write_instance_run(tmp_path / 'run', scene())
    (tmp_path / 'data' / '1.png').unlink()
    page, [note] = page_of(tmp_path / 'run')
    assert note.startswith('1 image cannot be shown, such as 1.png: ')
    assert 'cannot be shown: ' in page.text
    [worst] = [each for each in page.figures if each['id'] == 'image-1']
    assert [alt.split()[0] for alt, _ in worst['images']] == [
        'labels',
        'detections',
        'errors',
    ]


def test_images_are_where_the_run_read_them(tmp_path):
    content = scene()
    write_instance_run(tmp_path / 'run', content)
    for image in content.images:
        image.path = str(tmp_path / 'data' / image.file_name)
    write_instance_run(
        tmp_path / 'run', content, pictures=False, data_root='elsewhere'
    )
    assert page_of(tmp_path / 'run')[1] == []


def test_so_many_images_are_shown(tmp_path, monkeypatch):
    content = random_instances(images=20)
    write_instance_run(tmp_path / 'run', content, ('a', 'b', 'c'))

    def shown(**options):
        page, _ = page_of(tmp_path / 'run', **options)
        return [key for key in page.ids if key.startswith('image-')]

    assert len(shown(images=3)) == 3
    assert shown(images=0) == []
    assert len(shown()) > 10
    # Without room there are fewer, and the page is there.
    for name in ('_SUSPECT_ROOM', '_CONFUSION_ROOM', '_WORST_ROOM'):
        monkeypatch.setattr(pages, name, 20_000)
    assert 1 <= len(shown()) < 10


NAME = '<script>alert(1)</script>'


@pytest.mark.parametrize(
    ('content', 'classes'),
    [
        pytest.param(
            instances([label(0, 0, BOX)], [], images=1), ['a'], id='one image'
        ),
        pytest.param(
            instances([label(0, 0, BOX)], [detection(0, 0, BOX)]),
            ['a', 'b'],
            id='no errors',
        ),
        pytest.param(instances([], []), ['a'], id='nothing'),
        pytest.param(
            instances([], [detection(0, 0, BOX)]), ['a'], id='no labels'
        ),
        pytest.param(
            random_instances(classes=300), range(300), id='300 classes'
        ),
        pytest.param(
            instances(scene().labels, scene().detections, 2, [NAME, 'b"<i>']),
            [NAME, "' onload='x"],
            id='script',
        ),
    ],
)
def test_in_a_browser(tmp_path, browser, content, classes):
    classes = [str(name) for name in classes]
    write_instance_run(
        tmp_path / 'run', content, classes, pictures=NAME not in classes
    )
    write_page(tmp_path / 'run', tmp_path / 'page.html')
    browser.open(tmp_path / 'page.html')
    assert browser.complaints() == []
    asked = {url for url in browser.requests() if not url.startswith('data:')}
    assert asked == {(tmp_path / 'page.html').as_uri()}
    text = (tmp_path / 'page.html').read_text()
    assert 'nan' not in re.sub(r'"data:[^"]*"', '', text).split('<main>')[1]
    assert '<script>alert' not in text
    assert browser.run('document.documentElement.scrollWidth') <= 1280


def test_clicks(tmp_path, browser):
    write_instance_run(tmp_path / 'run', random_instances(), ('a', 'b', 'c'))
    write_page(tmp_path / 'run', tmp_path / 'page.html')
    browser.open(tmp_path / 'page.html')
    browser.run("document.querySelector('figure .zoom').click()")
    assert browser.run("document.querySelector('dialog').open")
    browser.run("document.querySelector('dialog').close()")
    table = "document.querySelectorAll('section')[1].querySelector('table')"
    browser.run(f'{table}.tHead.rows[0].cells[3].click()')
    cells = f'[...{table}.tBodies[0].rows].map(r => r.cells[3].textContent)'
    first, second, last = browser.run(cells)
    assert float(first.split()[0]) <= float(second.split()[0])
    assert last == 'absent'
    assert browser.complaints() == []


def test_a_run_cut_off_leaves_the_old_page(tmp_path):
    write_instance_run(tmp_path / 'run', scene())
    (tmp_path / 'run' / 'detections.json').write_text('[{"image_id": 1')
    (tmp_path / 'page.html').write_text('old')
    with pytest.raises(ValueError, match=r'detections\.json cannot be read'):
        write_page(tmp_path / 'run', tmp_path / 'page.html')
    assert (tmp_path / 'page.html').read_text() == 'old'


def test_curves_of_a_training(tmp_path):
    write_instance_run(tmp_path / 'run', scene())
    logs = tmp_path / 'work' / '20260101_000000' / 'vis_data'
    logs.mkdir(parents=True)
    rows = [{'loss': 1 / k, 'lr': 0.1, 'iter': k, 'step': k} for k in (1, 2)]
    (logs / 'scalars.json').write_text('\n'.join(map(json.dumps, rows)))
    page, _ = page_of(tmp_path / 'run', work_dir=tmp_path / 'work')
    assert 'training' in page.ids
    assert 'training' not in page_of(tmp_path / 'run')[0].ids


def test_the_tool_takes_the_page_of_a_detector(tmp_path):
    write_instance_run(tmp_path / 'run', scene())
    written = write_report(tmp_path / 'page.html', run_dir=tmp_path / 'run')
    assert written.images == 2
    assert 'AP of boxes' in (tmp_path / 'page.html').read_text()


def test_sequences(tmp_path):
    write_instance_run(tmp_path / 'run', random_instances(), ('a', 'b', 'c'))
    with pytest.raises(ValueError, match='cluster'):
        write_page(tmp_path / 'run', tmp_path / 'page.html', cluster='(x')
    page, _ = page_of(tmp_path / 'run', cluster=r'^.')
    assert 'sequences' in page.text
