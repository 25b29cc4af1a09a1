"""`python -m brim` is the command `brim`."""

import sys

from .cli.main import main

sys.exit(main())
