"""Settings that hold for all tests."""

from hypothesis import settings

# The same examples every time, everywhere; CI draws all of them (thorough), and a new find belongs
# to whoever looks for it (search): pytest --hypothesis-profile search.
settings.register_profile("same", derandomize=True, deadline=None, print_blob=True, max_examples=25)
settings.register_profile("thorough", settings.get_profile("same"), max_examples=100)
settings.register_profile("search", deadline=None, max_examples=100)
settings.load_profile("same")
