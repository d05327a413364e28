"""What the comparisons with other engines share."""

import pytest

from peers.engines import PEERS


@pytest.fixture(autouse=True, scope="package")
def one_thread():
    """Matrices as small as these are slower on several threads, and much so on a busy machine."""
    try:
        import torch
    except ModuleNotFoundError:
        yield
        return
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="session", params=PEERS)
def peer(request):
    return PEERS[request.param]()


@pytest.fixture(scope="session", params=[name for name in PEERS if PEERS[name].order > 1])
def higher(request):
    """Give one that differentiates more than once."""
    return PEERS[request.param]()


@pytest.fixture(scope="session")
def pytorch():
    return PEERS["pytorch"]()


@pytest.fixture(scope="session")
def jax():
    return PEERS["jax"]()
