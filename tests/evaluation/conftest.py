"""Tests of the evaluation: of its numbers, and of what it finds on few sets."""

import sys
from pathlib import Path

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parent / "host" / "transformers")]
