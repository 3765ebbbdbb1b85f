"""Install what the contract tests compare with: python tests/contract/install.py FOLDER, which `make bindings` does."""

from __future__ import annotations

import sys
from pathlib import Path

from lineside_contract.packages import STAMP, install

if __name__ == "__main__":
    home = Path(sys.argv[1])
    failed = install(home)
    if failed:
        print(f"cannot be had: {', '.join(failed)}; its tests will fail and say why", file=sys.stderr)  # noqa: T201
    else:
        (home / STAMP).touch()
