"""`python -m atlantis` is the command `atlantis`."""

import sys

from atlantis.cli import main

sys.exit(main())
