"""`python -m tinygraph` is the command `tinygraph`."""

import sys

from tinygraph.cli.commands import main

sys.exit(main())
