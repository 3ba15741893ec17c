"""The emulated CuPy under CuPy's name, for processes that tests start with this folder on PYTHONPATH."""

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[2]))

from emulator import module

sys.modules["cupy"] = module.build()
