"""Jobs of two processes, started as a user or a cluster starts them."""

import os
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).parents[2]

#: Long enough for any machine; what hangs fails.
TIMEOUT = 300

TORCHRUN = (
    *(sys.executable, '-m', 'torch.distributed.run'),
    *('--standalone', '--nproc-per-node', '2'),
)
SRUN = ('srun', sys.executable)
MPIRUN = ('mpirun', sys.executable)

#: A stand-in for srun or mpirun: it starts the command twice, each time with
#: the variables that the real one sets, and waits for both.
_STARTER = """\
#!{python}
import os, subprocess, sys
variables = {variables!r}
started = [
    subprocess.Popen(
        sys.argv[1:],
        env=os.environ | {{k: v.format(rank=r) for k, v in variables.items()}},
    )
    for r in range(2)
]
sys.exit(max(abs(process.wait()) for process in started))
"""

_VARIABLES = {
    'srun': {
        'SLURM_PROCID': '{rank}',
        'SLURM_LOCALID': '{rank}',
        'SLURM_NTASKS': '2',
        'SLURM_NODELIST': 'node[1-2]',
    },
    'mpirun': {
        'OMPI_COMM_WORLD_RANK': '{rank}',
        'OMPI_COMM_WORLD_LOCAL_RANK': '{rank}',
        'OMPI_COMM_WORLD_SIZE': '2',
    },
}

#: A stand-in for Slurm's list of the hosts of a job.
_SCONTROL = """\
#!/bin/sh
[ "$*" = 'show hostnames node[1-2]' ] && printf '127.0.0.1\\nnode2\\n'
"""


def write_stand_ins(folder):
    """Write srun, scontrol and mpirun into a folder for PATH."""
    folder.mkdir()
    scripts = {'scontrol': _SCONTROL}
    for name, variables in _VARIABLES.items():
        scripts[name] = _STARTER.format(
            python=sys.executable, variables=variables
        )
    for name, text in scripts.items():
        path = folder / name
        path.write_text(text)
        path.chmod(0o755)
    return folder


def run_job(starter, folder, tool, *arguments, **variables):
    """Run a tool in two processes and wait.

    Args:
        starter: The command that starts the processes.
        folder: The current folder of the job.
        tool: Name of the tool.
        arguments: Of the tool.
        variables: Of the environment.

    Returns:
        The status, all that was written, and when it ended.
    """
    path = os.pathsep.join(
        filter(None, [str(ROOT / 'tests'), os.environ.get('PYTHONPATH')])
    )
    own = {'PYTHONPATH': path, 'OMP_NUM_THREADS': '1'}
    if sys.platform == 'linux':
        own['GLOO_SOCKET_IFNAME'] = 'lo'  # whatever the host's name means
    command = [*starter, ROOT / 'tools' / f'{tool}.py', *arguments]
    done = subprocess.run(
        [str(part) for part in command],
        cwd=folder,
        env=os.environ | own | variables,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=TIMEOUT,
    )
    return done.returncode, done.stdout, time.time()
