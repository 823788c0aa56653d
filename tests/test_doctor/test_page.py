"""The page of a diagnosis, in numbers, in pictures and in a browser."""

import base64
import io
import re
from collections import Counter
from html.parser import HTMLParser

import numpy as np
import pytest
from PIL import Image

from mmseg_ext.doctor import page_pictures
from mmseg_ext.doctor.examine import Diagnosis
from mmseg_ext.doctor.findings import Code, Level
from mmseg_ext.doctor.gather import gather
from mmseg_ext.doctor.page import write_page
from mmseg_ext.launch.configs import load_config

CLASSES = ['sky', 'building', 'plant', 'road', 'thing']
BAD = Code('label-odd', Level.ERROR, 'IoU 0 of a class', 'mend the label')
PAIR = Code('image-twice', Level.WARNING, 'the score is too good', 'leave it')
RARE = Code('class-rare', Level.NOTE, 'it is learned late', 'weigh it')


class Page(HTMLParser):
    """The tables and pictures of a page."""

    def __init__(self, path):
        super().__init__()
        self.tables, self.pictures, self.ids = [], [], []
        self._cell = self._figure = None
        self.text = path.read_text()
        self.feed(self.text)

    def handle_starttag(self, tag, attrs):
        attrs = dict(attrs)
        if 'id' in attrs:
            self.ids.append(attrs['id'])
        if tag == 'table':
            self.tables.append([])
        elif tag == 'tr':
            self.tables[-1].append([])
        elif tag in ('td', 'th'):
            self._cell = ''
        elif tag == 'figure':
            self._figure = {'images': [], 'alts': [], 'text': ''}
        elif tag == 'img':
            self._figure['images'].append(decode(attrs['src']))
            self._figure['alts'].append(attrs['alt'])

    def handle_endtag(self, tag):
        if tag in ('td', 'th'):
            self.tables[-1][-1].append(self._cell.strip())
            self._cell = None
        elif tag == 'figure':
            self._figure['text'] = ' '.join(self._figure['text'].split())
            self.pictures.append(self._figure)
            self._figure = None

    def handle_data(self, data):
        if self._cell is not None:
            self._cell += data
        if self._figure is not None:
            self._figure['text'] += data

    def table(self, *heads):
        """Return the rows of the first table with such heads."""
        return next(
            rows[1:] for rows in self.tables if set(heads) <= {*rows[0]}
        )

    def shown(self, text):
        """Return the first picture with a text below."""
        return next(each for each in self.pictures if text in each['text'])


def decode(uri):
    """Return a picture, RGB, as Pillow reads it."""
    data = re.fullmatch(r'data:image/(?:png|jpeg);base64,(.+)', uri)[1]
    image = Image.open(io.BytesIO(base64.b64decode(data)))
    return np.array(image.convert('RGB')).astype(int)


def case_of(patient):
    return gather(load_config(str(patient.config), None, None, None, None))


def page_of(case, findings, path):
    findings = sorted(findings, key=lambda finding: -finding.level)
    write_page(Diagnosis(case, findings, Counter(gone=3)), path)
    return Page(path)


@pytest.fixture
def out(tmp_path):
    return tmp_path / 'out' / 'report.html'


@pytest.fixture(scope='module')
def healthy(_street):
    """The data as they are, and their case; not to be changed."""
    return _street, case_of(_street)


@pytest.fixture(scope='module')
def page(healthy, tmp_path_factory):
    """Their page, without findings."""
    return page_of(healthy[1], [], tmp_path_factory.mktemp('page') / 'a.html')


def test_healthy_data(page):
    assert 'Nothing was found' in page.text
    assert 'Left out as asked for: 3 of gone.' in page.text
    assert [row[:4] for row in page.table('data set', 'images')] == [
        ['train', 'BaseSegDataset', '6', '6'],
        ['val', 'BaseSegDataset', '3', '3'],
        ['test', 'BaseSegDataset', '3', '3'],
    ]
    assert page.table('width x height') == [['96x72', '6', '3']]


def test_classes_are_counted(healthy, page):
    street, _ = healthy
    rows = page.table('class', 'train: pixels', 'val and test: share')
    assert [row[:2] for row in rows] == [
        [str(number), name] for number, name in enumerate(CLASSES)
    ]
    for start, folder in ((2, 'train_labels'), (5, 'val_labels')):
        labels = np.stack([street.label(p) for p in street.files(folder)])
        for index, row in enumerate(rows):
            pixels = int((labels == index).sum())
            share = 100 * pixels / int((labels != 255).sum())
            images = sum(bool((label == index).any()) for label in labels)
            assert row[start] == f'{pixels:,}'
            shown = float(row[start + 1].removesuffix(' %'))
            assert shown == pytest.approx(share, abs=0.5, rel=0.05)
            assert row[start + 2] == str(images)


def test_weights_are_those_of_the_rule(healthy, page):
    """The root of the median frequency by that of the class."""
    street, _ = healthy
    labels = [street.label(path) for path in street.files('train_labels')]
    frequencies = []
    for index in range(5):
        having = [label for label in labels if (label == index).any()]
        around = sum((label != 255).sum() for label in having)
        pixels = sum((label == index).sum() for label in having)
        frequencies.append(pixels / around)
    expected = np.sqrt(np.median(frequencies) / frequencies).clip(0.5, 6)
    rows = page.table('suggested weight')
    found = [float(row[-1]) for row in rows]
    assert found == pytest.approx(expected.tolist(), rel=0.01)


def test_classes_together(street, out):
    labels = [street.label(path) for path in street.files('train_labels')]
    for path, label in zip(street.files('train_labels'), labels, strict=True):
        if path.name in ('0.png', '1.png'):  # no plants in two
            label[label == 2] = 1
            Image.fromarray(label).save(path)
    labels += [street.label(path) for path in street.files('val_labels')]
    rows = page_of(case_of(street), [], out).table(*CLASSES)
    for row, name in zip(rows, CLASSES, strict=True):
        index = CLASSES.index(name)
        having = [label for label in labels if (label == index).any()]
        assert row[0] == name
        for other, share in enumerate(row[1:]):
            both = sum(bool((label == other).any()) for label in having)
            assert int(share) == round(100 * both / len(having))


def test_colors_are_measured(street, out):
    """Deviations are those of all pixels, also between images."""
    for number, path in enumerate(street.files('train')):
        color = (200, 100, 30) if number % 2 else (0, 20, 30)
        Image.new('RGB', (96, 72), color).save(path)
    page = page_of(case_of(street), [], out)
    assert page.table('split', 'mean', 'standard deviation')[0] == [
        *('train', '6', 'PNG RGB (6)'),
        *('100.0, 60.0, 30.0', '100.0, 40.0, 0.0'),
    ]


def test_sizes(street, out):
    for path in street.files('train')[:2]:
        Image.open(path).resize((48, 40)).save(path)
    page = page_of(case_of(street), [], out)
    assert page.table('width x height') == [
        ['96x72', '4', '3'],
        ['48x40', '2', '0'],
    ]
    dots = re.findall(
        r'<circle class="series(\d)" cx="([^"]*)" cy="([^"]*)" r="([^"]*)">'
        '<title>([^<]*)</title>',
        page.text,
    )
    # Of 96 times 1.1, and 72 times 1.1, at 60 + 700 and 10 + 320 pixels.
    x, y = 60 + 700 / 1.1, 10 + 320 - 320 / 1.1
    assert [(dot[0], dot[-1]) for dot in dots] == [
        ('0', '96x72: 4 of train'),
        ('1', '96x72: 3 of val and test'),
        ('0', '48x40: 2 of train'),
    ]
    assert [float(value) for value in dots[0][1:4]] == pytest.approx(
        [x, y, 16], abs=0.06
    )
    assert [float(value) for value in dots[2][1:3]] == pytest.approx(
        [60 + 350 / 1.1, 330 - 320 * 40 / 72 / 1.1], abs=0.06
    )


def test_classes_that_are_no_texts(street, out):
    old = "classes = ('sky', 'building', 'plant', 'road', 'thing')"
    street.change(old, 'classes = (0, 1, 2, 3, 4)')
    page = page_of(case_of(street), [], out)
    rows = page.table('class', 'train: pixels')
    assert [row[1] for row in rows] == ['0', '1', '2', '3', '4']


def test_where_classes_lie(street, out):
    """The lightest places are those of most labels."""
    for number, path in enumerate(street.files('train_labels')):
        label = np.full((72, 96), 3, np.uint8)
        label[: 36 if number < 4 else 18] = 0  # the upper half or quarter
        Image.fromarray(label).save(path)
    street.change("'val_labels'", "'train_labels'")
    street.change("img_path='val'", "img_path='train'")
    page = page_of(case_of(street), [], out)
    sky = page.shown('sky in 100 % at most')['images'][0]
    assert sky.shape == (16, 16, 3)
    rows = sky.sum(axis=2).mean(axis=1)
    assert len(set(rows[:4])) == len(set(rows[4:8])) == len(set(rows[8:])) == 1
    assert rows[0] > rows[4] > rows[8]
    assert page.table('split', 'mean')[0][0] == 'train and val and test'
    assert 'In no label: building, plant, thing.' in page.text


def test_findings_stand_by_code(healthy, out):
    street, case = healthy
    labels = [str(path) for path in street.files('train_labels')]
    findings = [
        RARE.found('thing has 1 %', 'train'),
        BAD.found('value 9', 'train', labels[0]),
        BAD.found('value 7', 'val', labels[1], level=Level.WARNING),
        RARE.found('plant has 2 %', mend='weigh the plant'),
    ]
    page = page_of(case, findings, out)
    assert page.table('level', 'code', 'splits') == [
        ['error', 'label-odd', '2', 'train, val', 'IoU 0 of a class'],
        ['note', 'class-rare', '2', 'train', 'it is learned late'],
    ]
    assert page.table('level', 'file', 'what was found') == [
        ['error', 'train', labels[0], 'value 9'],
        ['warning', 'val', labels[1], 'value 7'],
    ]
    assert page.table('what was found', 'what mends it') == [
        ['train', 'thing has 1 %', 'weigh it'],
        ['all', 'plant has 2 %', 'weigh the plant'],
    ]
    assert {'code-label-odd', 'code-class-rare'} <= {*page.ids}
    assert '<b>1</b> error<' in page.text
    assert '<b>2</b> notes<' in page.text


def test_suspect_labels_are_drawn_over_their_images(street, out):
    """Red, the color of the first class, counts 45 %."""
    path, other = street.files('train_labels')[:2]
    Image.fromarray(np.zeros((72, 96), np.uint8)).save(path)
    Image.fromarray(np.full((72, 96), 99, np.uint8)).save(other)
    findings = [
        BAD.found('one class', 'train', str(path)),
        BAD.found('no class', 'train', str(other)),
    ]
    page = page_of(case_of(street), findings, out)
    figure = page.shown('one class')
    image, label = figure['images']
    assert figure['alts'] == ['0.png', '0.png over 0.png']
    expected = np.array(Image.open(street.root / 'train/0.png').convert('RGB'))
    assert image.shape == label.shape == (300, 400, 3)
    middle = np.median(expected, axis=(0, 1))
    np.testing.assert_allclose(np.median(image, (0, 1)), middle, atol=3)
    middle = 0.55 * middle + 0.45 * np.array([255, 26, 26])
    np.testing.assert_allclose(np.median(label, (0, 1)), middle, atol=3)
    assert figure['text'].endswith('train: one class sky')
    figure = page.shown('train: no class')
    assert figure['text'].endswith('no class: 99')
    assert np.abs(figure['images'][0] - figure['images'][1]).mean() > 50


def test_labels_are_shown_as_they_are_loaded(street, out):
    path = street.files('train_labels')[0]
    Image.fromarray(np.full((72, 96), 4, np.uint8)).save(path)
    street.change('reduce_zero_label = False', 'reduce_zero_label = True')
    findings = [BAD.found('shifted', 'train', str(path))]
    figure = page_of(case_of(street), findings, out).shown('shifted')
    assert figure['text'].endswith('train: shifted road')


def test_pairs_stand_side_by_side(healthy, out):
    street, case = healthy
    files = street.files('train')[2], street.files('val')[1]
    others = [str(files[1])]
    finding = PAIR.found('equal', 'train', str(files[0]), others=others)
    figure = page_of(case, [finding], out).shown('equal')
    assert len(figure['images']) == 2
    for file, shown in zip(files, figure['images'], strict=True):
        image = np.array(Image.open(file).convert('RGB').resize((400, 300)))
        assert np.abs(image - shown).mean() < 12
        assert str(file) in figure['text']


def test_images_of_a_list_stand_by_themselves(healthy, out):
    street, case = healthy
    images = [str(path) for path in street.files('train')]
    finding = BAD.found('6 of 6', 'some', '/the/list.json', others=images)
    page = page_of(case, [finding], out)
    figures = [each for each in page.pictures if 'some' in each['text']]
    assert [each['alts'][0] for each in figures] == [
        f'{number}.png' for number in range(6)
    ]
    listed = ', '.join(['/the/list.json', *images[:3]])
    assert page.table('file')[0][1] == f'{listed} and 3 more'


def test_an_image_stands_before_its_label(healthy, out):
    street, case = healthy
    image, label = street.files('train')[1], street.files('train_labels')[1]
    others = [str(image)]
    finding = BAD.found('size', 'train', str(label), others=others)
    figure = page_of(case, [finding], out).shown('train: size')
    assert figure['alts'] == ['1.png', '1.png over 1.png']
    assert np.abs(figure['images'][0] - figure['images'][1]).mean() > 20


def test_what_cannot_be_read_is_named(street, out):
    image, label = street.files('train')[0], street.files('train_labels')[1]
    image.write_bytes(image.read_bytes()[:80])
    label.write_bytes(b'')
    gone = street.files('train')[2]
    case = case_of(street)
    gone.unlink()  # since it was looked at
    findings = [
        BAD.found('cut off', 'train', str(image)),
        BAD.found('empty', 'train', str(label)),
        BAD.found('gone', 'train', str(gone)),
        BAD.found('unknown', 'train', '/no/such/file.png'),
    ]
    page = page_of(case, findings, out)
    for text in ('cut off', 'empty', 'gone'):
        assert len(page.shown(f'train: {text}')['images']) == 1
        assert 'cannot be shown: ' in page.shown(f'train: {text}')['text']
    assert 'unknown' in page.text
    assert not any('/no/such' in each['text'] for each in page.pictures)


def test_instances(shapes, out):
    coco = shapes.coco('train')
    crowd = coco['annotations'][0]
    crowd['iscrowd'] = 1
    small, disk = coco['annotations'][3], dict(coco['annotations'][3])
    small.update(bbox=[1, 1, 4, 4], segmentation=[[1, 1, 5, 1, 5, 5]])
    shapes.write_coco('train', coco)
    image = shapes.files('train')[1]
    findings = [BAD.found('small', 'train', str(image))]
    page = page_of(case_of(shapes), findings, out)
    heads = ('class', 'train: instances', 'val and test: images')
    assert page.table(*heads) == [
        ['0', 'box', '5', '5', '3', '3'],
        ['1', 'disk', '6', '6', '3', '3'],
    ]
    rows = page.table('box', 'disk')
    assert rows == [['box', '100', '100'], ['disk', '89', '100']]
    assert '4 to 8 pixels' in page.text
    plain, drawn = page.shown('train: small')['images']
    assert page.shown('train: small')['text'].endswith('box: 1 disk: 1')
    for place, red in ((coco['annotations'][2], 0.45), (disk, 0)):
        left, top, width, height = 400 / 96 * np.array(place['bbox'])
        inner = np.s_[
            round(top + 9) : round(top + height - 9),
            round(left + 9) : round(left + width - 9),
        ]
        expected = (1 - red) * plain[inner] + red * np.array([255, 26, 26])
        means = expected.mean(axis=(0, 1))
        found = drawn[inner].mean(axis=(0, 1))
        np.testing.assert_allclose(found, means, atol=3)


def test_boxes_that_are_left_out_are_drawn(shapes, out):
    """They may be why a file is suspect."""
    coco = shapes.coco('train')
    coco['annotations'][2]['category_id'] = 9
    coco['annotations'][3]['iscrowd'] = 1
    shapes.write_coco('train', coco)
    findings = [BAD.found('odd', 'train', str(shapes.files('train')[1]))]
    page = page_of(case_of(shapes), findings, out)
    assert page.table('class', 'train: instances')[0][2:4] == ['5', '5']
    figure = page.shown('train: odd')
    assert figure['text'].endswith('train: odd no class: 1 disk: 1')
    changed = np.abs(np.subtract(*figure['images'])).max(axis=2)
    for annotation in coco['annotations'][2:4]:
        left, top, _, height = 400 / 96 * np.array(annotation['bbox'])
        edge = np.s_[round(top) + 5 : round(top + height) - 5, round(left)]
        assert changed[edge].mean() > 12  # a line
        inner = np.s_[edge[0], round(left) + 30 : round(left) + 80]
        assert changed[inner].mean() < 5  # no mask


@pytest.mark.parametrize('most', [0, 60_000])
def test_pictures_end_where_there_is_no_room(healthy, out, monkeypatch, most):
    street, case = healthy
    monkeypatch.setattr(page_pictures, '_ROOM', most)
    files = [*street.files('train'), *street.files('val')]
    findings = [BAD.found('odd', None, str(file)) for file in files]
    page = page_of(case, findings, out)
    pictures = [each for each in page.pictures if 'odd' in each['text']]
    assert len(pictures) == (2 if most else 0)


def test_thousands_of_findings_leave_a_page_that_opens(healthy, out):
    street, case = healthy
    file = str(street.files('train')[0])
    findings = [BAD.found(f'value {n}', 'train', file) for n in range(3000)]
    page = page_of(case, findings, out)
    assert len(page.table('file', 'what was found')) == 500
    assert '2,500 more are not shown here.' in page.text
    assert out.stat().st_size < 2_000_000


def test_a_config_without_data(street, out):
    street.change("data_root='", "data_root='/no/such/place")
    page = page_of(case_of(street), [BAD.found('nothing')], out)
    rows = page.table('data set', 'fault')
    assert {row[2] for row in rows} == {'0'}
    assert all(row[-1] for row in rows)
    assert 'id="classes"' not in page.text


def test_the_page_in_a_browser(browser, street, out):
    """Whatever classes and files are called, it is text."""
    names = ['<script>alert(1)</script>', '"\'><img src=x>', '道路' * 5000]
    old = "classes = ('sky', 'building', 'plant', 'road', 'thing')"
    street.change(old, f'classes = {(*names, "улица", "thing")!r}')
    image = street.files('train')[0]
    hostile = image.with_name('"><svg onload=alert(1)>\udcff.png')
    image.rename(hostile)
    label = street.files('train_labels')[0]
    label.rename(label.with_name(hostile.name))
    other = str(street.files('val')[0])
    findings = [
        BAD.found('<script>alert(2)</script>', 'train', str(hostile)),
        *(RARE.found(f'{k} pixels', 'val', other) for k in range(30)),
        PAIR.found('twice', 'train', str(hostile), others=[other]),
    ]
    case = case_of(street)
    page_of(case, findings, out)
    browser.open(out)
    assert browser.complaints() == []
    asked = {url for url in browser.requests() if not url.startswith('data:')}
    assert asked == {out.as_uri()}
    widths = browser.run('[...document.images].map(each => each.naturalWidth)')
    assert len(widths) > 15
    assert min(widths) >= 16
    scripts = "document.querySelectorAll('script, [onload], [onerror]').length"
    assert browser.run(scripts) == 1

    # A table sorts when its head is clicked: as numbers, then as levels.
    column = """[...document.querySelectorAll('#classes ~ .scroll tbody tr')]
        .map(row => Number(row.cells[2].dataset.value))"""
    before = browser.run(column)
    browser.run(
        "document.querySelectorAll('#classes ~ .scroll th')[2].click()"
    )
    after = browser.run(column)
    assert after == sorted(before) != before
    # What a link leads to is unfolded.
    note = "document.getElementById('code-class-rare').open"
    assert browser.run(note) is False
    link = 'document.querySelector(\'a[href="#code-class-rare"]\').click()'
    browser.run(f'{link}, new Promise(done => setTimeout(done, 50))')
    assert browser.run(note) is True
    assert browser.complaints() == []
