import pytest

from mmseg_ext.formats.exports.export import Classes
from mmseg_ext.formats.exports.shapes import shape_classes


def test_background_comes_first():
    classes, indices = shape_classes(['b', 'a'], [(1, 2, 3), None])
    assert classes == Classes(
        ('background', 'b', 'a'), ((0, 0, 0), (1, 2, 3), (0, 128, 0)), 0
    )
    assert indices == {'b': 1, 'a': 2}
    assert classes.objects == (1, 2)


@pytest.mark.parametrize('name', ['Background', 'bg', '_background_'])
def test_background_that_is_listed(name):
    classes, indices = shape_classes(['a', name, 'b'])
    assert classes.names == ('a', name, 'b')
    assert classes.background == 1
    assert indices == {'a': 0, name: 1, 'b': 2}
    assert classes.objects == (0, 2)


@pytest.mark.parametrize('name', ['Void', 'unlabeled', '__ignore__'])
def test_what_has_no_label(name):
    classes, indices = shape_classes([name, 'a'])
    assert classes.names == ('background', 'a')
    assert indices == {name: 255, 'a': 1}


@pytest.mark.parametrize(
    ('names', 'message'),
    [
        pytest.param([], 'lists no classes', id='none'),
        pytest.param(['void'], 'lists no classes', id='void'),
        pytest.param(['a', ''], 'class 1 has no name', id='empty'),
        pytest.param(['a', 'b', 'a'], "2 classes are called 'a'", id='twice'),
        pytest.param(
            [f'c{n}' for n in range(255)], '256 classes with', id='many'
        ),
    ],
)
def test_lists_that_are_none(names, message):
    with pytest.raises(ValueError, match=message):
        shape_classes(names)


def test_as_many_as_fit():
    classes, indices = shape_classes([f'c{n}' for n in range(254)])
    assert len(classes.names) == 255
    assert indices['c253'] == 254
