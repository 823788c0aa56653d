"""Random pickles of all names that torch may load, run and looked through.

As a program, ``pickle_programs.py SEED COUNT``, it stops with an error at the
first pickle whose result is more than data; a crash ends it with a signal. It
prints how many pickles gave a result.
"""

import io
import random
import re
import resource
import struct
import sys
import warnings
import zipfile
from pathlib import Path

import numpy as np
import torch
from mmengine.logging import HistoryBuffer
from torch import _weights_only_unpickler as unpickler

from mmseg_ext.checkpoint import weights_only

#: More than any of the pickles needs, less than any bad size in them.
MEMORY = 4 << 30

CODES = ('f8', 'f4', 'f2', 'i8', 'i4', 'i2', 'i1', 'u1', 'b1')
WORDS = [
    *CODES,
    *('O', 'V8', 'S8', 'U2', 'M8[s]', 'f8,O', '(2,)f4', '>f8', '<', '>', '|'),
    *('storage', 'cpu', 'meta', 'latin1', 'hex', 'min', 'max', 'mean'),
    *('max_length', '_log_history', '_count_history', 'statistics_methods'),
    *('__class__', '__dict__', '__setstate__', '__init__', 'data', 'shape'),
    *('dtype', 'strides', 'tofile', '_backward_hooks', 'AAAAAAAA', ''),
]
NUMBERS = [0, 1, 2, 3, 5, 8, 16, 24, -1, -2, 255, 1 << 31, 10**12, 1 << 62]
NUMBERS += [-(1 << 40), (1 << 63) - 1, 1 << 64]

#: What is left, beside containers, when a pickle has been run.
PLAIN = (
    *(type(None), bool, int, float, complex, str, bytes, bytearray),
    *(torch.Size, torch.device, torch.dtype, torch.layout, torch.qscheme),
    *(torch.Tensor, torch.UntypedStorage, torch.TypedStorage),
    torch.serialization.StorageType,
)

#: What holds something else.
HOLDERS = (tuple, list, set, dict)


def allowed():
    """Return all that torch lets pickles name."""
    return {
        **unpickler._get_allowed_globals(),
        **unpickler._get_user_allowed_globals(),
    }


class Writer:
    """Writes pickles; each method leaves one value on the stack.

    Most are near to what mmengine writes, with some other value in places, so
    that many get past the first checks.
    """

    def __init__(self, seed):
        self.random = random.Random(seed)
        own = list(unpickler._get_user_allowed_globals())
        functions = [name for name in allowed() if '_rebuild_' in name]
        # Numerous are tensor classes and types, which do little.
        self.names = [*allowed(), *functions * 4, *own * 12]

    def program(self):
        """Return a pickle."""
        self.code = bytearray(b'\x80\x02')
        self.memo = 0
        self.value(self.random.randint(2, 6))
        self.code += b'.'
        if self.random.random() < 0.1:
            at = self.random.randrange(2, len(self.code))
            self.code[at : at + 1] = self.random.choice(
                [b'', b'R', b'b', b'\x81', b'(', b't', b'0', b'h\x00', b')']
            )
        return bytes(self.code)

    def value(self, depth):
        """Any value."""
        kinds = [self.atom, self.name, self.recall, self.text, self.number]
        if depth > 0:
            kinds += [self.container, self.array, self.dtype, self.scalar]
            kinds += [self.call, self.call, self.make, self.build, self.build]
            kinds += [self.history, self.tensor, self.storage, self.shared]
            kinds += [self.rebuilt, self.statistic, self.sequence, self.called]
        self.random.choice(kinds)(depth - 1)
        if self.random.random() < 0.4 and self.memo < 200:
            self.code += b'q' + bytes([self.memo])
            self.memo += 1

    def rather(self, depth, kind, *args):
        """Mostly what a kind gives, else any value."""
        if self.random.random() < 0.12:
            return self.value(depth)
        return kind(depth, *args)

    def atom(self, depth):
        self.code += self.random.choice([b'N', b'\x88', b'\x89', b')', b']'])

    def number(self, depth, number=None):
        number = self.random.choice(NUMBERS) if number is None else number
        if -(1 << 31) <= number < 1 << 31:
            self.code += b'J' + struct.pack('<i', number)
        else:
            data = number.to_bytes(10, 'little', signed=True)
            self.code += b'\x8a\x0a' + data

    def text(self, depth, text=None):
        text = self.random.choice(WORDS) if text is None else text
        data = text.encode()
        self.code += b'X' + struct.pack('<I', len(data)) + data

    def name(self, depth, name=None):
        module, _, name = (name or self.random.choice(self.names)).rpartition(
            '.'
        )
        self.code += f'c{module}\n{name}\n'.encode()

    def recall(self, depth):
        if self.memo:
            self.code += b'h' + bytes([self.random.randrange(self.memo)])
        else:
            self.atom(depth)

    def tuple(self, depth, *kinds):
        self.code += b'('
        for kind in kinds:
            self.rather(depth, kind)
        self.code += b't'

    def any_tuple(self, depth):
        count = self.random.choice([0, 1, 1, 2, 3, 4, 5, 7])
        self.tuple(depth, *[self.value] * count)

    def container(self, depth):
        opening, closing = self.random.choice(
            [(b'](', b'e'), (b'}(', b'u'), (b'(', b't')]
        )
        self.code += opening
        for _ in range(2 * self.random.randrange(3)):
            self.value(depth)
        self.code += closing

    def call(self, depth):
        self.rather(depth, self.name)
        self.rather(depth, self.any_tuple)
        self.code += b'R'

    def make(self, depth):
        self.rather(depth, self.name)
        self.rather(depth, self.any_tuple)
        self.code += b'\x81'

    def build(self, depth):
        self.value(depth)
        self.value(depth)
        self.code += b'b'

    def sequence(self, depth):
        """Values that share what they remember."""
        self.tuple(depth, *[self.value] * self.random.randint(2, 6))

    def function(self, depth, name, *kinds):
        """Call something as it is meant."""
        self.rather(depth, self.name, name)
        self.rather(depth, self.tuple, *kinds)
        self.code += b'R'

    def raw(self, depth, length=None):
        """Bytes, as pickles of protocol 2 have them."""
        length = length or self.random.choice([1, 2, 4, 8, 8, 8, 16, 24])

        def data(depth):
            self.text(depth, 'A' * length)

        self.function(
            depth, '_codecs.encode', data, lambda d: self.text(d, 'latin1')
        )

    def dtype(self, depth):
        self.function(
            depth,
            'numpy.dtype',
            lambda d: self.text(d, self.random.choice(CODES)),
            lambda d: self.code.extend(b'\x89'),
            lambda d: self.code.extend(b'\x88'),
        )
        order = self.random.choice('<>|')
        rest = b'NNN' + (b'J' + b'\xff' * 4) * 2 + b'K\x00'
        self.code += b'('
        self.rather(depth, self.number, 3)
        self.rather(depth, self.text, order)
        self.code += rest + b'tb'

    def multiarray(self, name):
        module = self.random.choice(['core', '_core'])
        return f'numpy.{module}.multiarray.{name}'

    def scalar(self, depth):
        self.function(depth, self.multiarray('scalar'), self.dtype, self.raw)

    def fresh_array(self, depth):
        self.function(
            depth,
            self.multiarray('_reconstruct'),
            lambda d: self.name(d, 'numpy.ndarray'),
            lambda d: self.tuple(d, lambda e: self.number(e, 0)),
            lambda d: self.raw(d, 1),
        )

    def called(self, depth):
        """The class itself, called with bytes."""
        self.name(depth, 'numpy.ndarray')
        self.rather(depth, self.tuple, self.shape, self.text, self.raw)
        self.code += self.random.choice([b'R', b'\x81'])

    def shape(self, depth):
        count = self.random.choice([1, 1, 1, 2, 3])
        self.tuple(
            depth,
            *[lambda d: self.number(d, self.random.choice([0, 1, 1, 2, 3]))]
            * count,
        )

    def array_state(self, depth):
        self.tuple(
            depth,
            lambda d: self.number(d, 1),
            self.shape,
            self.dtype,
            lambda d: self.code.extend(self.random.choice([b'\x88', b'\x89'])),
            self.raw,
        )

    def array(self, depth):
        self.rather(depth, self.fresh_array)
        self.rather(depth, self.array_state)
        self.code += b'b'

    def shared(self, depth):
        """An array, a tensor of its memory, and the array filled again."""
        at = self.memo % 200
        self.memo = max(self.memo, at + 1)
        self.code += b'('
        self.array(depth)
        self.code += b'q' + bytes([at])
        self.function(
            depth,
            'torch._utils._rebuild_device_tensor_from_numpy',
            lambda d: self.code.extend(b'h' + bytes([at])),
            lambda d: self.name(d, 'torch.float64'),
            lambda d: self.text(d, 'cpu'),
            lambda d: self.code.extend(b'\x89'),
        )
        self.code += b'h' + bytes([at])
        self.rather(depth, self.array_state)
        self.code += b'bt'

    def statistic(self, depth):
        self.function(
            depth,
            'builtins.getattr',
            self.buffer_class,
            lambda d: self.text(d, self.random.choice(['min', 'mean'])),
        )

    def buffer_class(self, depth):
        self.name(depth, 'mmengine.logging.history_buffer.HistoryBuffer')

    def history(self, depth):
        self.rather(depth, self.buffer_class)
        self.code += b')\x81}('
        for key, kind in (
            ('max_length', self.number),
            ('_log_history', self.array),
            ('_count_history', self.array),
            ('statistics_methods', self.container),
        ):
            if self.random.random() < 0.95:
                self.rather(depth, self.text, key)
                self.rather(depth, kind)
        self.code += b'ub'

    def storage(self, depth):
        self.tuple(
            depth,
            lambda d: self.text(d, 'storage'),
            lambda d: self.name(d, f'torch.{self.random.choice(STORAGES)}'),
            lambda d: self.text(d, '0'),
            lambda d: self.text(d, 'cpu'),
            lambda d: self.number(d, self.random.choice([1, 2, 4])),
        )
        self.code += b'Q'

    def tensor(self, depth):
        def hooks(depth):
            self.name(depth, 'collections.OrderedDict')
            self.code += b')R'

        self.function(
            depth,
            'torch._utils._rebuild_tensor_v2',
            self.storage,
            lambda d: self.number(d, 0),
            self.shape,
            self.shape,
            lambda d: self.code.extend(b'\x89'),
            hooks,
        )

    def rebuilt(self, depth):
        """Torch's own way to call anything and give it any state."""
        self.function(
            depth,
            'torch._tensor._rebuild_from_type_v2',
            self.name,
            self.name,
            self.any_tuple,
            self.value,
        )


STORAGES = ['FloatStorage', 'DoubleStorage', 'LongStorage', 'ByteStorage']


class Reader(unpickler.Unpickler):
    """Torch's, with storages as ``torch.load`` would give them."""

    def persistent_load(self, pid):
        """Return a storage."""
        _, kind, key, _, count = pid
        size = torch._utils._element_size(kind.dtype)
        if key != '0' or count * size > 32:
            raise ValueError('there is no such record')
        return torch.storage.TypedStorage(
            wrap_storage=torch.UntypedStorage(32)[: count * size],
            dtype=kind.dtype,
            _internal=True,
        )


def run(code):
    """Return what a pickle gives, as ``torch.load`` does."""
    try:
        value = Reader(io.BytesIO(code), encoding='utf-8').load()
        torch._utils._validate_loaded_sparse_tensors()
    finally:
        torch._utils._sparse_tensors_to_validate.clear()
    return value


def run_file(code):
    """Return what ``torch.load`` makes of a file with a pickle."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, 'w') as archive:
        for name, data in (
            ('data.pkl', code),
            ('byteorder', b'little'),
            ('data/0', bytes(32)),
            ('version', b'3\n'),
        ):
            archive.writestr(f'a/{name}', data)
    file.seek(0)
    return torch.load(file)


def check(value, callables):
    """Check that a value and all in it is data."""
    todo, seen = [value], {}
    while todo:
        value = todo.pop()
        if id(value) in seen:
            continue
        seen[id(value)] = value
        if any(value is known for known in callables):
            continue
        todo += getattr(value, '__dict__', {}).values()
        if isinstance(value, HOLDERS):
            todo += value
            if isinstance(value, dict):
                todo += value.values()
        elif isinstance(value, np.ndarray | np.generic):
            # A checkpoint that never fills an array leaves it empty.
            assert value.dtype.str[1:] in CODES or value.size == 0, value.dtype
            assert value.nbytes <= 1000
            value.tobytes()
            value.sum()
        elif isinstance(value, HistoryBuffer):
            assert vars(value).keys() == {
                *('max_length', '_log_history', '_count_history'),
            }
            assert all(type(part) is np.ndarray for part in value.data)
            if len(value.data[0]):
                value.mean(), value.current()
        elif type(value).__module__ == 'mmseg_ext.unpickling':
            # A record that never got its state, or no array took.
            assert type(value).__name__ in ('_DType', '_History')
        else:
            assert isinstance(value, PLAIN), type(value)


def main(seed, count):
    """Run as many pickles; print how many give a result."""
    warnings.simplefilter('ignore')
    resource.setrlimit(
        resource.RLIMIT_AS, (MEMORY, resource.getrlimit(resource.RLIMIT_AS)[1])
    )
    statistics = dict(HistoryBuffer()._statistics_methods)
    writer, callables, given = Writer(seed), list(allowed().values()), 0
    for index in range(count):
        code = writer.program()
        try:
            value = (run if index % 50 else run_file)(code)
        except (Exception, MemoryError):
            continue
        given += 1
        try:
            check(value, callables)
        except AssertionError:
            sys.exit(f'pickle {index} of seed {seed}: {code!r}')
    assert HistoryBuffer._statistics_methods == statistics
    print(given, _peak())


def _peak():
    """Return the most memory that this process had, in KiB."""
    # What getrusage says may be that of the process which started this one.
    status = Path('/proc/self/status')
    if status.exists():
        return int(re.search(r'VmHWM:\s*(\d+) kB', status.read_text())[1])
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


if __name__ == '__main__':
    with weights_only():
        main(*map(int, sys.argv[1:]))
