"""`python -m tinygraph` is the command `tinygraph`."""

import sys

from tinygraph.cli.entry import main

sys.exit(main())
