import pytest

from mmseg_ext import sample_data

WRITERS = {
    'camvid': sample_data.write_camvid,
    'cityscapes': sample_data.write_cityscapes,
    'idd': sample_data.write_idd,
    'nails': sample_data.write_nails,
    'nuimages': sample_data.write_nuimages,
}
OPTIONS = {'size': (64, 48), 'progress': False}


def contents(root):
    return {
        str(path.relative_to(root)): path.read_bytes()
        for path in root.rglob('*')
        if path.is_file()
    }


@pytest.mark.parametrize('write', WRITERS.values(), ids=WRITERS)
def test_processes_write_the_same_bytes(tmp_path, write):
    counts = [
        write(tmp_path / str(nproc), num=7, nproc=nproc, **OPTIONS)
        for nproc in (1, 2)
    ]
    assert counts[0] == counts[1]
    assert sum(counts[0].values()) == 7
    one, two = contents(tmp_path / '1'), contents(tmp_path / '2')
    assert one == two != {}


@pytest.mark.parametrize('write', WRITERS.values(), ids=WRITERS)
def test_processes_tell_what_is_wrong(tmp_path, write):
    write(tmp_path, num=4, **OPTIONS)
    before = contents(tmp_path)
    with pytest.raises(FileExistsError, match='exists with other content'):
        write(tmp_path, num=4, seed=1, nproc=2, **OPTIONS)
    assert contents(tmp_path) == before


# CamVid's folders lie beside whatever else is in the folder of the set.
@pytest.mark.parametrize('name', sorted(WRITERS.keys() - {'camvid'}))
@pytest.mark.parametrize('overwrite', [False, True])
def test_other_folders_are_refused(tmp_path, name, overwrite):
    """A folder that another set of the format would have, such as a city."""
    write = WRITERS[name]
    write(tmp_path, num=4, **OPTIONS)
    image = min(p for p in tmp_path.rglob('*') if p.suffix in ('.png', '.jpg'))
    foreign = image.parent.with_name('strange') / image.name
    foreign.parent.mkdir()
    image.rename(foreign)
    with pytest.raises(FileExistsError, match='holds strange, which is not'):
        write(tmp_path, num=4, overwrite=overwrite, **OPTIONS)


@pytest.mark.parametrize('write', WRITERS.values(), ids=WRITERS)
def test_no_process(tmp_path, write):
    with pytest.raises(ValueError, match='nproc=0: expected 1 or more'):
        write(tmp_path / 'new', nproc=0)
    assert not (tmp_path / 'new').exists()
