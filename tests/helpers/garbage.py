"""What tests leave behind in their process."""

import gc
from multiprocessing import active_children


def collect_garbage():
    """Collect what tests left behind, with the processes that load images.

    These end first: collected before, the queue in which they are told to is
    closed already, and each is waited for five seconds.
    """
    for process in active_children():
        process.terminate()
    gc.collect()
