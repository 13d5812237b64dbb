"""Tests of the evaluation: of its numbers, and of what it finds on few sets."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
