"""Entries of a config."""

from mmengine.config import Config, ConfigDict

from mmseg_ext.doctor.config_entries import pipeline_at, preprocessor_of


def test_pipeline_is_a_plain_copy():
    step = dict(type='TestTimeAug', transforms=[[dict(type='A', size=(1, 2))]])
    dataset = dict(datasets=[dict(pipeline=[step])])
    cfg = Config(dict(train_dataloader=dict(dataset=dataset)))
    key = 'train_dataloader.dataset.datasets.0.pipeline'
    found = pipeline_at(cfg, key)
    assert found == [step]
    assert type(found[0]) is dict
    assert type(found[0]['transforms'][0][0]) is dict
    assert isinstance(
        cfg.train_dataloader.dataset.datasets[0].pipeline[0], ConfigDict
    )
    found.clear()
    assert len(pipeline_at(cfg, key)) == 1
    for other in key[:-1], key.replace('0', '7'), key + '.0':
        assert pipeline_at(cfg, other) is None


def test_preprocessor_within_that_of_branches():
    plain = dict(mean=[1])
    assert preprocessor_of(Config(dict(a=1))) == (
        'model.data_preprocessor',
        {},
    )
    cfg = Config(dict(model=dict(data_preprocessor=plain)))
    assert preprocessor_of(cfg) == ('model.data_preprocessor', plain)
    cfg = Config(
        dict(model=dict(data_preprocessor=dict(data_preprocessor=plain)))
    )
    key = 'model.data_preprocessor.data_preprocessor'
    assert preprocessor_of(cfg) == (key, plain)
