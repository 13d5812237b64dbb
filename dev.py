"""Develop the pack: `python dev.py COMMAND`, on a real ComfyUI, found or fetched."""

# This file alone is read by every Python, so that a wrong one gets a sentence and not a syntax error.
import sys

if not (3, 10) <= sys.version_info[:2] <= (3, 13):
    sys.exit("error: Python 3.10 to 3.13 is needed, this is %d.%d (%s)" % (sys.version_info[:2] + (sys.executable,)))  # noqa: RUF005, UP031

from devtools.commands import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
