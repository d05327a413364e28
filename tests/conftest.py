"""Settings that hold for all tests."""

import os

from hypothesis import settings

# On a build server the same examples every time: a new find belongs to whoever looks for it.
settings.register_profile("ci", derandomize=True, deadline=None, print_blob=True)
settings.register_profile("search", deadline=None)
settings.load_profile("ci" if os.environ.get("CI") else "search")
