"""The way of a visit: checks of one's own, and checks that fail."""

import logging
import os
from pathlib import Path

import pytest
from mmengine.config import Config
from mmengine.logging import print_log

from helpers.doctor import plants
from mmseg_ext.doctor.case import Case
from mmseg_ext.doctor.examine import diagnose, examine
from mmseg_ext.doctor.findings import Code, Level, check

OWN = """\
from mmseg_ext.doctor.findings import Code, Level, check

DARK = Code('image-dark', Level.WARNING, 'nothing is seen', 'take a lamp')


@check(DARK)
def images_are_bright(case):
    for part in case.parts:
        yield DARK.found(f'{part.total} images', part.split)
"""

RARE = Code('a-code', Level.NOTE, 'nothing', 'nothing')


def test_checks_of_ones_own(street):
    (street.root / 'dark_checks.py').write_text(OWN)
    text = street.config.read_text()
    own = "doctor_checks = ['dark_checks:images_are_bright']\n"
    street.config.write_text(text + own)
    diagnosis = street.examine()
    found = [f for f in diagnosis.findings if f.code == 'image-dark']
    assert [(f.split, f.text) for f in found] == [
        ('train', '6 images'),
        ('val', '3 images'),
        ('test', '3 images'),
    ]
    assert street.examine(ignore=['image-dark']).ignored['image-dark'] == 3
    for wrong, reason in (
        ("['dark_checks:nothing']", "'dark_checks:nothing'"),
        ("['dark_checks:Level']", 'is no check'),
        ("['no_such_module:x']", 'no module no_such_module'),
        ("'dark_checks:images_are_bright'", 'expected a list'),
    ):
        street.config.write_text(f'{text}doctor_checks = {wrong}\n')
        with pytest.raises(ValueError, match=reason):
            street.examine()


@plants('check-failed')
def test_check_that_fails_takes_no_other_with_it(street):
    @check(RARE)
    def fails(case):
        yield RARE.found('before')
        raise RuntimeError('two\nlines')

    @check(RARE)
    def works(case):
        yield RARE.found('after')

    case = Case(None, '')
    found = diagnose(case, [fails, works]).findings
    assert [f.code for f in found] == ['check-failed', 'a-code', 'a-code']
    assert 'fails: RuntimeError: two lines' in found[0].text


def test_arguments_are_checked(street):
    with pytest.raises(ValueError, match='nproc=0'):
        street.examine(nproc=0)
    with pytest.raises(ValueError, match='sample=0'):
        street.examine(sample=0)
    with pytest.raises(ValueError, match='close: split-empty'):
        street.examine(ignore=['split-emty'])
    with pytest.raises(ValueError, match='there is no config'):
        examine(str(street.root / 'nothing.py'))


def test_configs_without_data_sets_have_no_finding(tmp_path):
    config = tmp_path / 'empty.py'
    config.write_text("default_scope = 'mmseg'\n")
    assert examine(str(config)).findings == []


def test_wrapped_data_sets_are_seen_through(street):
    text = street.config.read_text()
    street.config.write_text(
        text
        + "part = train_dataloader['dataset']\n"
        + "train_dataloader['dataset'] = dict(type='RepeatDataset', times=3,"
        + ' dataset=dict(type="ConcatDataset", datasets=[part, part]))\n'
    )
    parts = street.examine().case.splits['train'].parts
    key = 'train_dataloader.dataset.dataset.datasets'
    assert [part.key for part in parts] == [f'{key}.0', f'{key}.1']
    assert [part.total for part in parts] == [6, 6]


def ends(*_):
    raise SystemExit(0)


def test_code_that_ends_the_process_is_a_fault(street, monkeypatch, tmp_path):
    """Status 0 would look like a clean bill."""
    case = Case(None, '')
    [found] = diagnose(case, [check(RARE)(ends)]).findings
    assert (found.code, 'SystemExit' in found.text) == ('check-failed', True)
    with monkeypatch.context() as patch:
        patch.setattr('mmseg.datasets.BaseSegDataset.load_data_list', ends)
        codes = {each.code for each in street.examine().findings}
    assert 'data-set-not-built' in codes
    with monkeypatch.context() as patch:
        patch.setattr('mmcv.transforms.LoadImageFromFile.transform', ends)
        codes = {each.code for each in street.examine().findings}
    assert 'pipeline-fails' in codes


def test_what_is_no_finding_is_a_fault():
    @check(RARE)
    def text(case):
        yield 'a text'

    @check(RARE)
    def number(case):
        yield RARE.found('x', file=7)

    found = diagnose(Case(None, ''), [text, number]).findings
    assert [each.code for each in found] == ['check-failed'] * 2
    assert "'a text': expected a Finding" in found[0].text


def test_users_code_moves_and_prints_nothing(street, capsys, monkeypatch):
    before = Path.cwd()

    def away(self, results):
        os.chdir('/')
        print('from a transform')
        return results

    monkeypatch.setattr('mmseg.datasets.PackSegInputs.transform', away)
    street.examine()
    assert Path.cwd() == before
    assert capsys.readouterr().out == ''


def test_config_without_a_file(street):
    cfg = Config.fromfile(street.config)
    bare = Config(cfg.to_dict())
    diagnosis = examine(bare)
    assert diagnosis.case.splits['train'].parts[0].total == 6


def test_others_log_as_before(street, mmlog):
    """MMEngine's logger keeps what Python tells it of disabled levels."""
    street.examine()
    print_log('as before', 'current', logging.WARNING)
    assert 'as before' in mmlog.text
