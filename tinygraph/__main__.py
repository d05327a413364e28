"""`python -m tinygraph` is the command `tinygraph`."""

import sys

from tinygraph.cli import main

sys.exit(main())
