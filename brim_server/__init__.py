"""The `brim-server` command, and the place where an installed Brim finds its own packages.

In the checkout `api`, `workers`, `scheduler` and `lua` lie beside this package. In a wheel they lie in
`brim_server/_packages`, because such plain names would collide with other distributions. Importing this
package puts whichever applies first on `sys.path`, so everything that starts through `brim-server` (the only
supported way to start a process) imports them by their short names.
"""

import sys
from pathlib import Path

_HERE = Path(__file__).resolve().parent
_IN_WHEEL = _HERE / "_packages"
PACKAGES_ROOT = _IN_WHEEL if _IN_WHEEL.is_dir() else _HERE.parent
"""The folder that holds the packages `api`, `workers`, `scheduler` and `lua`."""

if not sys.path or sys.path[0] != str(PACKAGES_ROOT):
    sys.path.insert(0, str(PACKAGES_ROOT))
