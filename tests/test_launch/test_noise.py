import sys
import warnings

import pytest
from mmengine.logging import MMLogger
from pycocotools import coco

import mmseg_ext_cli
from mmseg_ext.launch.noise import (
    LOGGED,
    LOGGED_OF_NAMES,
    TOLD,
    WARNED,
    Quiet,
)

#: As upstream says it.
NOISE = [
    *(f'{text} and more' for text in LOGGED),
    *(f'backbone.bn1.bias{text}' for text in LOGGED_OF_NAMES),
]


def quiet_logger(tmp_path):
    """Return a logger as a runner has it, filtered, and its filter."""
    name = f'{tmp_path.name}_noise'
    logger = MMLogger.get_instance(name, log_file=str(tmp_path / 'x.log'))
    quiet = Quiet()
    quiet.attach(logger)
    return logger, quiet


def test_known_noise_goes_to_the_file_alone(tmp_path, capsys):
    logger, _ = quiet_logger(tmp_path)
    for text in NOISE:
        logger.info(text)
        logger.warning(text)
    logger.info('in the summary', extra=TOLD)
    assert capsys.readouterr().out == ''
    written = (tmp_path / 'x.log').read_text()
    for text in [*NOISE, 'in the summary']:
        assert text in written


def test_all_else_is_shown(tmp_path, capsys):
    logger, _ = quiet_logger(tmp_path)
    said = ['a warning of nobody', 'about Config:\n', 'the Iter(train) of x']
    for text in said:
        logger.warning(text)
    # The same noise elsewhere in a text is none.
    shown = capsys.readouterr().out
    assert [text in shown for text in said] == [True] * 3


def test_tables_are_kept_for_the_end(tmp_path, capsys):
    logger, quiet = quiet_logger(tmp_path)
    # As MMSeg, MMDet and IoU give them.
    logger.info('per class results:')
    logger.info('\n+--+\n|a |')
    logger.info('per class results:\n+--+\n|b |')
    assert quiet.tables == ['+--+\n|a |', '+--+\n|b |']
    assert capsys.readouterr().out == ''


def test_what_is_printed(capsys):
    """pycocotools prints, and does so again afterwards."""
    with Quiet()():
        coco.COCO().createIndex()
        coco.print('another line')
    assert capsys.readouterr().out == 'another line\n'
    coco.COCO().createIndex()
    assert capsys.readouterr().out == 'creating index...\nindex created!\n'


def test_warnings_are_left_out_before_upstream_is_imported(monkeypatch):
    monkeypatch.setattr('sys.warnoptions', [])
    monkeypatch.setattr('sys.argv', ['train.py'])
    with warnings.catch_warnings(record=True) as shown:
        warnings.simplefilter('always')
        mmseg_ext_cli._hush()
        for text in WARNED:
            warnings.warn(f'{text}, and more', UserWarning, stacklevel=1)
        warnings.warn('unknown', UserWarning, stacklevel=1)
    assert [str(w.message) for w in shown] == ['unknown']


@pytest.mark.parametrize(
    ('options', 'argv'), [(['default'], []), ([], ['--verbose'])]
)
def test_who_asks_sees_all_warnings(monkeypatch, options, argv):
    monkeypatch.setattr('sys.warnoptions', options)
    monkeypatch.setattr('sys.argv', ['train.py', *argv])
    with warnings.catch_warnings(record=True) as shown:
        warnings.simplefilter('always')
        mmseg_ext_cli._hush()
        for text in WARNED:
            warnings.warn(text, UserWarning, stacklevel=1)
    assert len(shown) == len(WARNED)


def test_the_filter_leaves_with_the_run():
    logger = MMLogger.get_current_instance()
    before = [list(handler.filters) for handler in logger.handlers]
    with Quiet()():
        assert before != [list(h.filters) for h in logger.handlers]
    assert before == [list(h.filters) for h in logger.handlers]


def test_noise_of_an_import(tmp_path, monkeypatch, capsys):
    """The forks print it; what else is printed is shown."""
    (tmp_path / 'printing.py').write_text(
        "print('Could not import OneDL. Skipping')\n"
        "print('of the', 'user')\n"
        'name = 1\n'
    )
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(sys, 'argv', ['mmseg-ext train'])
    assert mmseg_ext_cli.load('printing:name') == 1
    assert capsys.readouterr().out == 'of the user\n'
    del sys.modules['printing']
    monkeypatch.setattr(sys, 'argv', ['mmseg-ext train', '--verbose'])
    mmseg_ext_cli.load('printing:name')
    assert 'OneDL' in capsys.readouterr().out
    del sys.modules['printing']
