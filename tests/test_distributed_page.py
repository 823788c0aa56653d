"""The job of the page on several GPUs is a script that Slurm can start."""

import os
import re
import shlex
import subprocess
from pathlib import Path

PAGE = (Path(__file__).parents[1] / 'docs' / 'distributed.md').read_text()

#: Stands in for ``srun``: says what it was to start, and where.
SRUN = '#!/bin/sh\necho "$MASTER_PORT $SRUN_CPUS_PER_TASK $*"\n'


def job():
    """Return the script that the page has as ``job.sh``."""
    (script,) = re.findall(
        r'^Save as `job\.sh`:\n\n```bash\n(.+?)^```$', PAGE, re.M | re.S
    )
    return script


def run_job(folder, number):
    """Run the job as Slurm would, up to ``srun``; return what that is told."""
    script, srun = folder / 'job.sh', folder / 'srun'
    script.write_text(job())
    srun.write_text(SRUN)
    srun.chmod(0o755)
    activate = folder / 'env' / 'bin' / 'activate'
    activate.parent.mkdir(parents=True, exist_ok=True)
    activate.write_text(f'PATH={folder}:$PATH\n')
    done = subprocess.run(
        ['bash', '-eu', script],
        env={
            **os.environ,
            'HOME': str(folder),
            'SLURM_JOB_ID': str(number),
            'SLURM_CPUS_PER_TASK': '5',
        },
        capture_output=True,
        text=True,
        check=True,
    )
    return shlex.split(done.stdout)


def test_slurm_s_job(tmp_path):
    port, cores, *words = run_job(tmp_path, 4_123_456)
    assert cores == '5'
    assert 1024 < int(port) < 65536
    assert port != run_job(tmp_path, 4_123_457)[0]
    command = words[words.index('mmseg-ext') :]
    assert command[:3] == ['mmseg-ext', 'train', 'streets.py']
    assert command[command.index('--launcher') + 1] == 'slurm'
    assert '--resume' in command


def test_slurm_s_options_are_before_the_first_command():
    """Slurm reads none after it."""
    lines = job().splitlines()
    assert lines[0] == '#!/bin/bash'
    options = [line.startswith('#SBATCH --') for line in lines[1:]]
    assert sum(options) == options.index(False) > 5
