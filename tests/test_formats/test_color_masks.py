import csv
import io

import cv2
import numpy as np
import pytest
from PIL import Image

from mmseg_ext.formats.color_masks import (
    MAX_UNKNOWN,
    ColorClasses,
    MaskDecoder,
    MaskRules,
    find_class_dict,
    load_classes,
    mask_decoder,
    mask_rules,
    read_class_dict,
    voc_color,
    write_class_dict,
)
from mmseg_ext.labels.camvid import CAMVID11, CAMVID32
from references import color_masks as reference

CAMVID = ColorClasses.from_colors(CAMVID32)


def write_mask(path, shape=(37, 53), seed=0, colors=None, unknown=0.0):
    """Write a mask of random colors; ``unknown`` of them in no row."""
    rng = np.random.default_rng(seed)
    colors = np.array(colors or list(CAMVID32.values()), np.uint8)
    mask = colors[rng.integers(0, len(colors), shape)]
    if unknown:
        wrong = rng.random(shape) < unknown
        mask[wrong] = rng.integers(1, 64, (int(wrong.sum()), 3))
    Image.fromarray(mask).save(path)
    return path


def decode(path, classes=CAMVID, max_unknown=1.0):
    """Return the labels and the warning."""
    decoder = MaskDecoder(classes.color_map, classes.index_map)
    decoded = decoder.decode_file(path.read_bytes(), str(path), max_unknown)
    return decoded.labels, decoded.warning


@pytest.mark.parametrize(
    'shape',
    [
        pytest.param((37, 53), id='one strip'),
        pytest.param((130, 960), id='several strips'),
        pytest.param((3, 50_000), id='wider than a strip'),
        pytest.param((1, 1), id='one pixel'),
    ],
)
@pytest.mark.parametrize('unknown', [0.0, 0.1, 1.0])
def test_decoding_equals_reference(tmp_path, shape, unknown):
    path = write_mask(tmp_path / 'x.png', shape, unknown=unknown)
    expected, count = reference.decode(path, CAMVID.color_map)

    labels, report = decode(path)

    assert labels.dtype == np.uint8
    assert (labels == expected).all()
    if count:
        assert f'{count} of {labels.size} pixels' in report
        assert str(path) in report
    else:
        assert report is None


def test_every_color_is_its_row():
    mask = np.array([list(CAMVID32.values())], np.uint8)[..., ::-1]
    labels, unknown = MaskDecoder(
        CAMVID.color_map, CAMVID.index_map
    ).decode_colors(np.ascontiguousarray(mask))
    expected = list(range(32))
    expected[30] = 255  # Void
    assert labels.tolist() == [expected]
    assert unknown == 0


def test_groups_by_hand():
    groups = ColorClasses.grouped(CAMVID32, CAMVID11)
    index = {
        name: index
        for name, (_, index) in zip(CAMVID32, groups.color_map, strict=True)
    }
    assert groups.names == tuple(CAMVID11)
    assert groups.palette[4] == (60, 40, 222)
    assert index['RoadShoulder'] == index['Sidewalk'] == 4
    assert index['LaneMkgsNonDriv'] == index['Road'] == 3
    assert index['Archway'] == index['Tunnel'] == 1
    assert index['MotorcycleScooter'] == 10
    assert index['Void'] == 255
    assert set(index.values()) == {*range(11), 255}


def test_groups_of_groups_are_themselves():
    colors = {name: color for name, (color, _) in CAMVID11.items()}
    colors['Unlabelled'] = (0, 0, 0)
    groups = ColorClasses.grouped(colors, CAMVID11)
    assert groups.index_map == (*range(11), 255)


def test_class_in_no_group():
    with pytest.raises(ValueError, match=r"\['Spaceship'\] belong to no"):
        ColorClasses.grouped({'Spaceship': (1, 2, 3)}, CAMVID11)


def test_most_frequent_unknown_colors_are_reported(tmp_path):
    mask = np.zeros((4, 5, 3), np.uint8)
    mask[0, :3] = (1, 2, 3)
    mask[1, 0] = (9, 8, 7)
    Image.fromarray(mask).save(tmp_path / 'x.png')
    labels, report = decode(tmp_path / 'x.png')
    assert (labels == 255).all()
    assert '4 of 20 pixels' in report
    assert '(1, 2, 3) 3 times, (9, 8, 7) 1 times' in report


def test_more_unknown_pixels_than_allowed(tmp_path):
    path = write_mask(tmp_path / 'x.png', unknown=0.4)
    decode(path, max_unknown=0.5)
    with pytest.raises(ValueError, match=r'x\.png: .* at most 30% may be'):
        decode(path, max_unknown=0.3)


def test_swapped_channels_are_caught(tmp_path):
    """The mistake behind many a training with IoU 0."""
    path = write_mask(tmp_path / 'x.png')
    cv2.imwrite(str(path), cv2.imread(str(path))[..., ::-1])
    with pytest.raises(ValueError, match='RGB order'):
        decode(path, max_unknown=MAX_UNKNOWN)


@pytest.mark.parametrize('mode', ['RGBA', 'P'])
def test_other_ways_to_store_colors(tmp_path, mode):
    path = write_mask(tmp_path / 'x.png')
    expected, _ = decode(path)
    image = Image.open(path)
    if mode == 'RGBA':
        image.putalpha(Image.new('L', image.size, 7))
    else:
        image = image.quantize(256, dither=Image.Dither.NONE)
    image.save(path)
    assert (decode(path)[0] == expected).all()


def test_index_mask(tmp_path):
    mask = np.array([[0, 30, 31, 255]], np.uint8)
    Image.fromarray(mask).save(tmp_path / 'x.png')
    labels, report = decode(tmp_path / 'x.png')
    assert labels.tolist() == [[0, 255, 31, 255]]
    assert report is None


def test_index_outside_class_list(tmp_path):
    mask = np.array([[0, 32, 32, 254]], np.uint8)
    Image.fromarray(mask).save(tmp_path / 'x.png')
    with pytest.raises(
        ValueError, match=r'x\.png .* holds the values 32, 254.* 32 rows'
    ):
        decode(tmp_path / 'x.png')


@pytest.mark.parametrize('share', [0, 0.3, 0.9])
def test_truncated_mask(tmp_path, share):
    path = write_mask(tmp_path / 'x.png')
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])
    with pytest.raises(ValueError, match=r'x\.png cannot be read'):
        decode(path)


def test_16_bit_mask(tmp_path):
    cv2.imwrite(str(tmp_path / 'x.png'), np.zeros((2, 2, 3), np.uint16))
    with pytest.raises(ValueError, match=r'x\.png .* has 16 bits a channel'):
        decode(tmp_path / 'x.png')


def test_decoders_are_made_once():
    maps = CAMVID.color_map, CAMVID.index_map
    assert mask_decoder(*maps) is mask_decoder(*maps)


def test_class_dict(tmp_path):
    path = tmp_path / 'class_dict.csv'
    path.write_text('\ufeffname, r, g, b\nRoad,1, 2, 3\n\nVoid ,0,0, 0\n')
    assert read_class_dict(path) == {'Road': (1, 2, 3), 'Void': (0, 0, 0)}
    assert find_class_dict(tmp_path / 'no', tmp_path) == path
    assert find_class_dict(tmp_path / 'no') is None


def test_class_list_of_a_file_or_of_what_it_holds(tmp_path):
    path = tmp_path / 'class_dict.csv'
    path.write_text('name,r,g,b\nRoad,1,2,3\nVoid,0,0,0\n')
    classes = load_classes(path, None)
    assert classes == load_classes({'Road': [1, 2, 3], 'Void': [0] * 3}, None)
    assert classes.names == ('Road', 'Void')
    assert classes.color_map == (((1, 2, 3), 0), ((0, 0, 0), 255))
    assert load_classes(CAMVID32, None) == CAMVID
    assert load_classes(CAMVID32, 'camvid11') == ColorClasses.grouped(
        CAMVID32, CAMVID11
    )


@pytest.mark.parametrize(
    ('text', 'message'),
    [
        pytest.param('', "'name' is missing", id='empty'),
        pytest.param(
            'name,r,g\nRoad,1,2', "'b' is missing; .* 'name,r,g'$", id='column'
        ),
        pytest.param('name,r,g,b\n', '0 classes', id='no rows'),
        pytest.param(
            'name,r,g,b\nA,1,2,3\nB,1,2,3',
            r'line 3: B \(1, 2, 3\) repeats A',
            id='duplicate color',
        ),
        pytest.param(
            'name,r,g,b\nA,1,2,3\nA,1,2,4',
            r'line 3: A \(1, 2, 4\) repeats A',
            id='duplicate name',
        ),
        pytest.param(
            'name,r,g,b\nA,1,x,3', 'line 2: expected a name', id='no number'
        ),
        pytest.param(
            'name,r,g,b\nA,1,2', 'line 2: expected a name', id='short row'
        ),
        pytest.param('name,r,g,b\nA,1,2,256', 'outside 0 to', id='range'),
        pytest.param(
            'name,r,g,b\nrock,1,0,0,0\n',
            'line 2: 0 is more than the header has columns; names with a',
            id='comma without quotes',
        ),
        pytest.param(
            'name,r,g,b\n"rock,1,0,0\n', 'near .*; expected CSV', id='quote'
        ),
        pytest.param(
            f'name,r,g,b\n{"x" * 140_000},1,0,0\n',
            'near line .: field larger than .*; expected CSV',
            id='long cell',
        ),
        pytest.param(
            'name,r,g,b\n' + '\n'.join(f'c{i},{i},0,0' for i in range(255)),
            '255 classes; expected 1 to 253',
            id='too many',
        ),
    ],
)
def test_wrong_class_dict(tmp_path, text, message):
    path = tmp_path / 'class_dict.csv'
    path.write_text(text)
    with pytest.raises(ValueError, match=message) as error:
        read_class_dict(path)
    assert str(path) in str(error.value)


NAMES = (
    *('rock, stone', 'two\nlines', 'old\rMac', 'a\r\nb', '"quoted"', '5\' 3"'),
    *('=cmd|"/C calc"!A0', '+1', '-1', '-1+2', '@x', "'=x", "'t Hooft", ' , '),
    *('a,0', '\u2028', 'Straße', '手', '\x85', '#x', '<script>', '\\'),
)


def test_any_name_is_read_as_it_was_written(tmp_path):
    names = [name for name in NAMES if name == name.strip()]
    assert len(names) > 17
    colors = {name: (0, 1, index) for index, name in enumerate(names)}
    path = tmp_path / 'class_dict.csv'
    write_class_dict(path, colors)
    assert read_class_dict(path) == colors
    with open(path, newline='', encoding='utf-8') as file:
        _, *rows = csv.reader(file)
    assert len(rows) == len(colors)


@pytest.mark.parametrize(
    'name',
    [
        pytest.param('', id='empty'),
        pytest.param(' a', id='blank'),
        pytest.param('a\n', id='line break at the end'),
        pytest.param('a\0', id='NUL'),
        pytest.param('a\udcff', id='surrogate'),
    ],
)
def test_names_that_no_file_can_hold(tmp_path, name):
    path = tmp_path / 'class_dict.csv'
    with pytest.raises(ValueError, match=r'class_dict\.csv: expected a name'):
        write_class_dict(path, {name: (0, 0, 0)})
    assert not path.exists()


@pytest.mark.parametrize('encoding', ['utf-16', 'cp1252'])
def test_class_dict_in_another_encoding(tmp_path, encoding):
    path = tmp_path / 'class_dict.csv'
    path.write_bytes('name,r,g,b\nStraße,0,0,0\n'.encode(encoding))
    with pytest.raises(ValueError, match=rf'^{path} is .*save it as UTF-8$'):
        read_class_dict(path)


# What a file holds, where its form does not say it.

BLACK_WHITE = {'background': (0, 0, 0), 'object': (255, 255, 255)}
WHITE_BLACK = dict(reversed(BLACK_WHITE.items()))
COLORS = {'road': (128, 64, 128), 'sky': (0, 0, 255), 'car': (9, 9, 9)}
SWAPPED = {'a': (1, 1, 1), 'b': (0, 0, 0)}


def saved(pixels, mode=None, **options):
    """Return the bytes of a PNG file."""
    image = Image.fromarray(np.array(pixels, np.uint8))
    file = io.BytesIO()
    (image.convert(mode) if mode else image).save(file, 'PNG', **options)
    return file.getvalue()


def palette_png(pixels, colors):
    image = Image.fromarray(np.array(pixels, np.uint8)).convert('P')
    image.putpalette([value for color in colors for value in color])
    file = io.BytesIO()
    image.save(file, 'PNG')
    return file.getvalue()


def decode_bytes(data, colors, max_unknown=MAX_UNKNOWN, **rules):
    classes = ColorClasses.from_colors(colors)
    decoder = MaskDecoder(
        classes.color_map, classes.index_map, MaskRules(**rules)
    )
    return decoder.decode_file(data, 'x.png', max_unknown)


@pytest.mark.parametrize(
    ('data', 'colors', 'expected', 'read_as'),
    [
        pytest.param(
            saved([[0, 255]]), BLACK_WHITE, [0, 1], 'color', id='black, white'
        ),
        pytest.param(
            saved([[0, 255]], '1'), BLACK_WHITE, [0, 1], None, id='1 bit'
        ),
        pytest.param(
            saved([[0, 1, 255]]),
            BLACK_WHITE,
            [0, 1, 255],
            'index',
            id='indices of black and white',
        ),
        pytest.param(saved([[0, 0]]), BLACK_WHITE, [0, 0], None, id='black'),
        pytest.param(
            saved([[0, 255]]), WHITE_BLACK, [1, 0], 'color', id='white, black'
        ),
        pytest.param(
            saved([[0, 255]], '1'),
            WHITE_BLACK,
            [1, 0],
            'color',
            id='white, black, 1 bit',
        ),
        pytest.param(
            saved([[0, 255]], 'LA'), BLACK_WHITE, [0, 1], None, id='alpha'
        ),
        pytest.param(
            saved([[0, 1, 2]]), COLORS, [0, 1, 2], 'index', id='indices'
        ),
        pytest.param(
            saved([[0, 255]], '1'), COLORS, [0, 1], 'index', id='1-bit indices'
        ),
        pytest.param(
            saved([[0, 2, 255]]), COLORS, [0, 2, 255], 'index', id='ignored'
        ),
        pytest.param(saved([[9, 9]]), COLORS, [2, 2], 'color', id='one gray'),
        pytest.param(
            palette_png([[0, 1]], [(0, 0, 255), (9, 9, 9)]),
            COLORS,
            [1, 2],
            'color',
            id='palette of colors',
        ),
    ],
)
def test_what_a_file_holds(data, colors, expected, read_as):
    decoded = decode_bytes(data, colors)
    assert decoded.labels.tolist() == [expected]
    assert decoded.labels.dtype == np.uint8
    assert decoded.warning is None
    assert decoded.read_as == read_as


@pytest.mark.parametrize('mode', ['L', '1', 'LA', 'P', 'RGB', 'RGBA'])
@pytest.mark.parametrize('colors', [BLACK_WHITE, WHITE_BLACK], ids=str)
def test_black_and_white_in_any_form(mode, colors):
    mask = np.zeros((20, 30), np.uint8)
    mask[5:10, 7:20] = 255
    names = list(colors)
    expected = np.where(mask, names.index('object'), names.index('background'))
    labels = decode_bytes(saved(mask, mode), colors).labels
    assert (labels == expected).all()


def test_values_that_are_indices_and_colors():
    for pixels in ([[0, 1]], [[0, 0]]):
        with pytest.raises(ValueError, match=r"x\.png .*masks='index' or"):
            decode_bytes(saved(pixels), SWAPPED)
    data = saved([[0, 1]])
    index = decode_bytes(data, SWAPPED, masks='index')
    color = decode_bytes(data, SWAPPED, masks='color')
    assert index.labels.tolist() == [[0, 1]]
    assert color.labels.tolist() == [[1, 0]]
    assert index.read_as is color.read_as is None


def test_void_is_a_read_as_well():
    """A black row that is ignored: zeros may be it, or the first row."""
    colors = {'road': (1, 2, 3), 'void': (0, 0, 0)}
    with pytest.raises(ValueError, match="masks='index' or masks='color'"):
        decode_bytes(saved([[0, 0]]), colors)
    labels = decode_bytes(saved([[0, 1]]), colors).labels
    assert labels.tolist() == [[0, 255]]


@pytest.mark.parametrize(
    'data',
    [
        pytest.param(saved([[0, 1, 2]], 'LA'), id='gray with alpha'),
        pytest.param(saved([[0, 1, 2]], 'RGB'), id='three equal channels'),
        pytest.param(saved([[0, 1, 2]], 'RGBA'), id='four'),
        pytest.param(
            palette_png([[0, 1, 2]], [(v, v, v) for v in range(9)]),
            id='gray palette',
        ),
        pytest.param(
            palette_png([[0, 1, 2]], [voc_color(i) for i in range(9)]),
            id="VOC's palette",
        ),
        pytest.param(
            palette_png([[0, 0, 2]], [(9, 9, 9), (8, 8, 8), (7, 7, 7)]),
            id='one known color',
        ),
    ],
)
def test_what_looks_like_indices(data):
    with pytest.raises(
        ValueError, match=r"x\.png .* look like class indices: say masks='ind"
    ):
        decode_bytes(data, COLORS, max_unknown=1.0)
    expected = [[0, 0, 2]] if b'\x09\x09\x09\x08' in data else [[0, 1, 2]]
    labels = decode_bytes(data, COLORS, masks='index').labels
    assert labels.tolist() == expected


@pytest.mark.parametrize('mode', ['LA', 'P', 'RGB', 'RGBA'])
def test_black_and_white_without_such_classes(mode):
    """To say that they are indices would have white ignored."""
    mask = np.zeros((20, 30), np.uint8)
    mask[0, 0] = 255
    colors = {'a': (1, 2, 3), 'b': (0, 0, 0)}
    with pytest.raises(ValueError, match=r'x\.png .* rows .* 255,255,255\.$'):
        decode_bytes(saved(mask, mode), colors)


def test_few_gray_pixels_among_colors_are_no_indices():
    mask = np.full((40, 40, 3), (128, 64, 128), np.uint8)
    mask[0, 1] = (1, 1, 1)
    decoded = decode_bytes(saved(mask), COLORS)
    assert decoded.labels[0, :3].tolist() == [0, 255, 0]
    assert '1 of 1600 pixels' in decoded.warning


@pytest.mark.parametrize('rules', [{}, {'masks': 'index'}], ids=str)
def test_values_of_neither_kind(rules):
    with pytest.raises(
        ValueError, match=r'x\.png .* values 3, 7, but the class list has 3'
    ):
        decode_bytes(saved([[0, 3, 7, 255]]), COLORS, **rules)


def test_colors_where_indices_are_declared():
    data = saved([[[128, 64, 128], [0, 0, 255]]])
    with pytest.raises(ValueError, match=r'x\.png .* is in color, such as'):
        decode_bytes(data, COLORS, masks='index')


def test_16_bits():
    def decode_16(values, colors=COLORS):
        image = np.array([values], np.uint16)
        return decode_bytes(cv2.imencode('.png', image)[1].tobytes(), colors)

    assert decode_16([0, 2, 255]).labels.tolist() == [[0, 2, 255]]
    assert decode_16([0, 65535], BLACK_WHITE).labels.tolist() == [[0, 1]]
    with pytest.raises(ValueError, match=r'x\.png .* values 256, 511, but'):
        decode_16([0, 256, 511])


def test_transparent_pixels():
    pixels = [[[128, 64, 128, 255], [0, 0, 255, 0], [0, 0, 0, 0]]]
    data = saved(pixels)
    with pytest.raises(
        ValueError, match=r"x\.png .* 2 transparent .*transparent='ignore' or"
    ):
        decode_bytes(data, COLORS)
    ignored = decode_bytes(data, COLORS, transparent=255)
    assert ignored.labels.tolist() == [[0, 255, 255]]
    assert ignored.warning is None
    assert decode_bytes(data, COLORS, transparent=2).labels.tolist() == [
        [0, 2, 2]
    ]


def test_transparent_palette():
    data = saved([[0, 1]], 'P', transparency=1)
    with pytest.raises(ValueError, match='1 transparent'):
        decode_bytes(data, BLACK_WHITE)
    labels = decode_bytes(data, BLACK_WHITE, transparent=1).labels
    assert labels.tolist() == [[0, 1]]


ASSUMED = 'No class_dict.csv is in here, so the classes are those of X'


def test_assumed_class_list_has_to_fit():
    mask = np.full((40, 40, 3), (128, 64, 128), np.uint8)
    rules = {'assumed': ASSUMED}
    assert not decode_bytes(saved(mask), COLORS, **rules).labels.any()
    mask[0, 0] = (1, 2, 3)
    with pytest.raises(
        ValueError, match=rf'1 of 1600 pixels.*{ASSUMED}: add the class_dict'
    ):
        decode_bytes(saved(mask), COLORS, max_unknown=1.0, **rules)


@pytest.mark.parametrize('mode', ['L', 'RGB', 'P', 'LA'])
@pytest.mark.parametrize('masks', [None, 'index'])
def test_indices_need_a_list(mode, masks):
    data = saved([[0, 1, 2]], mode)
    with pytest.raises(
        ValueError, match=r'x\.png .*index masks need a list of their indices'
    ):
        decode_bytes(data, COLORS, assumed=ASSUMED, masks=masks)


def test_unknown_kind():
    with pytest.raises(ValueError, match="masks='colour': expected 'index'"):
        MaskRules(masks='colour')


def test_names_of_camvid(tmp_path):
    """As fast.ai's copy has them."""
    path = tmp_path / 'codes.txt'
    path.write_text('\n'.join(CAMVID32))
    classes = load_classes(path, None)
    assert classes.names == tuple(CAMVID32)
    assert classes.palette == tuple(CAMVID32.values())
    assert classes.color_map == ()
    void = list(CAMVID32).index('Void')
    assert classes.index_map == (*range(void), 255, void + 1)
    eleven = load_classes(path, 'camvid11')
    assert eleven.color_map == ()
    assert eleven.names == tuple(CAMVID11)
    assert eleven.index_map == CAMVID.grouped(CAMVID32, CAMVID11).index_map


def test_names_of_the_benchmark(tmp_path):
    path = tmp_path / 'names.TXT'
    path.write_bytes('\r\n'.join([*CAMVID11, 'Unlabelled', '']).encode())
    classes = load_classes(path, None)
    assert classes.names == (*CAMVID11, 'Unlabelled')
    assert classes.palette[4] == (60, 40, 222)
    assert classes.palette[11] == (0, 0, 0)
    assert classes.index_map == (*range(11), 255)


def test_names_of_others(tmp_path):
    path = tmp_path / 'names.txt'
    path.write_bytes(b'\xef\xbb\xbf_background_\nRoad\n pot hole \n')
    classes = load_classes(path, None)
    assert classes.names == ('_background_', 'Road', 'pot hole')
    assert classes.palette == tuple(voc_color(index) for index in range(3))
    assert classes.index_map == (0, 1, 2)


def test_table_that_ends_in_txt(tmp_path):
    path = tmp_path / 'classes.txt'
    path.write_text('name,r,g,b\nroad,1,2,3\n')
    assert load_classes(path, None).color_map == (((1, 2, 3), 0),)


@pytest.mark.parametrize(
    ('text', 'message'),
    [
        ('', '0 classes; expected 1 to 253'),
        ('a\n\nb', r"line 2: expected a name .* got ''"),
        ('a\nb\na\n', r'line 3: a .* repeats a'),
        ('\n'.join(f'c{i}' for i in range(254)), '254 classes; expected'),
        ('0 0 0 background', r"line 1: .* got '0 0 0 background'; colors st"),
        ('# label\nroad:1, 2,3::', r"line 2: .* got 'road:1, 2,3::'"),
    ],
)
def test_wrong_names(tmp_path, text, message):
    path = tmp_path / 'codes.txt'
    path.write_text(text)
    with pytest.raises(ValueError, match=rf'^{path}.*{message}'):
        load_classes(path, None)


def test_transparent_indices():
    image = Image.fromarray(np.array([[0, 1, 2]], np.uint8)).convert('LA')
    image.putalpha(Image.fromarray(np.array([[255, 0, 255]], np.uint8)))
    gray = io.BytesIO()
    image.save(gray, 'PNG')
    files = gray.getvalue(), saved([[0, 1, 2]], 'P', transparency=1)
    for data in files:
        for transparent in (255, 2):
            decoded = decode_bytes(
                data, COLORS, masks='index', transparent=transparent
            )
            assert decoded.labels.tolist() == [[0, transparent, 2]]
    with pytest.raises(ValueError, match='1 transparent pixels; expected an'):
        decode_bytes(files[0], COLORS, masks='index')


def test_white_as_0():
    """As shown; its indices are not known."""
    file = io.BytesIO()
    image = Image.fromarray(np.array([[0, 255]], np.uint8)).convert('1')
    image.save(file, 'PPM')
    data = file.getvalue()
    assert decode_bytes(data, WHITE_BLACK).labels.tolist() == [[1, 0]]
    with pytest.raises(ValueError, match='but the class list has 3 rows'):
        decode_bytes(data, COLORS)


def test_names_without_colors():
    classes = ColorClasses(('a', 'b'), ((0, 0, 0), (1, 1, 1)), (), (0, 1))
    with pytest.raises(ValueError, match="masks='color', but the class list"):
        mask_rules(classes, 'color', None)
