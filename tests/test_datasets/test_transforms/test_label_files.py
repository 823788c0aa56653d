import itertools
import multiprocessing

from mmseg_ext.datasets.transforms.label_files import SharedSet

NAMES = [str(number) for number in range(300)]


def claim_all(sets, barrier, queue):
    barrier.wait()
    queue.put(
        [(i, n) for i, s in enumerate(sets) for n in NAMES if s.claim(n)]
    )


def test_one_of_many_processes_claims_a_name():
    """Each name of several sets, since races are rare."""
    sets = [SharedSet() for _ in range(20)]
    context = multiprocessing.get_context('fork')
    barrier, queue = context.Barrier(4), context.SimpleQueue()
    workers = [
        context.Process(target=claim_all, args=(sets, barrier, queue))
        for _ in range(4)
    ]
    for worker in workers:
        worker.start()
    claimed = itertools.chain.from_iterable([queue.get() for _ in workers])
    assert sorted(claimed) == [
        (i, n) for i in range(20) for n in sorted(NAMES)
    ]
    for worker in workers:
        worker.join()
    assert not sets[0].claim('7')
    assert '299' in sets[0]
    assert '300' not in sets[0]
