"""The doctor's command line."""

import json
import re
import runpy
from pathlib import Path

import pytest

from helpers.command_lines import error_of
from helpers.doctor import write_street

TOOL = Path(__file__).parents[2] / 'tools/doctor.py'


@pytest.fixture(scope='module')
def street(tmp_path_factory):
    return write_street(tmp_path_factory.mktemp('street') / 'data')


@pytest.fixture(autouse=True)
def _folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def run(*argv):
    with pytest.raises(SystemExit) as caught:
        runpy.run_path(str(TOOL))['main']([str(each) for each in argv])
    return caught.value.code


def test_healthy_data(street, tmp_path, capsys):
    assert run(street.config) == 0
    text = capsys.readouterr().out
    assert '6 images' in text
    assert '5 (sky, building, plant, road, thing)' in text
    assert re.search(r'^0 errors, 0 warnings, \d+ notes? ', text, re.M)
    folder = tmp_path / 'work_dirs/config/doctor'
    for name in ('doctor.json', 'report.html', 'cache.msgpack'):
        assert (folder / name).stat().st_size
    result = json.loads((folder / 'doctor.json').read_text())
    assert result['splits']['train']['images'] == 6
    assert result['splits']['val']['examined'] == 3
    assert result['counts']['error'] == 0


def test_findings_as_text_and_json(street, tmp_path, capsys):
    options = ['--cfg-options', 'model.decode_head.num_classes=4']
    assert run(street.config, *options, '--out', tmp_path / 'a') == 1
    text = capsys.readouterr().out
    assert re.search(r'^error +head-classes', text, re.M)
    assert 'num_classes=5' in text
    assert f'{" ".join(options)} --suggest mended.py' in text
    status = run(street.config, *options, '--out', tmp_path / 'a', '--json')
    assert status == 1
    printed = capsys.readouterr().out
    assert printed == (tmp_path / 'a/doctor.json').read_text()
    finding = json.loads(printed)['findings'][0]
    assert (finding['code'], finding['level']) == ('head-classes', 'error')
    assert finding['change'] == {'model.decode_head.num_classes': 5}


def test_levels_and_ignored_codes(street, capsys):
    """An image without a class that others have is no error."""
    options = ['--cfg-options', 'model.decode_head.num_classes=4']
    assert run(street.config, *options, '--ignore', 'head-classes') == 0
    assert 'ignored' in capsys.readouterr().out
    empty = ['--cfg-options', 'val_dataloader.dataset.img_suffix=.jpg']
    assert run(street.config, *empty, '--split', 'train') == 0
    assert run(street.config, *empty, '--split', 'train', 'val') == 1


def test_fail_on_warnings(street, capsys):
    options = ['--cfg-options', 'model.data_preprocessor.bgr_to_rgb=False']
    assert run(street.config, *options) == 0
    assert 'channels-swapped' in capsys.readouterr().out
    assert run(street.config, *options, '--fail-on', 'warning') == 1


def test_what_the_user_can_mend_is_told_in_one_line(street, tmp_path, capsys):
    main = runpy.run_path(str(TOOL))['main']
    broken = tmp_path / 'broken.py'
    broken.write_text('model = dict(')
    assert str(broken) in error_of(capsys, main, [str(broken)])
    line = error_of(
        capsys, main, [str(street.config), '--ignore', 'head-clases']
    )
    assert '--ignore head-clases' in line
    assert 'close: head-classes' in line
    line = error_of(capsys, main, [str(street.config), '--sample', '0'])
    assert '--sample 0' in line
    line = error_of(capsys, main, [str(street.config), '--out', str(broken)])
    assert f'--out {broken}' in line
