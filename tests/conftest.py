"""Settings that hold for all tests."""

from hypothesis import settings

# The same examples every time, everywhere: a new find belongs to whoever looks for it, with
# pytest --hypothesis-profile search.
settings.register_profile("same", derandomize=True, deadline=None, print_blob=True)
settings.register_profile("search", deadline=None)
settings.load_profile("same")
