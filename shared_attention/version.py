"""The pack's version, as in pyproject.toml, which a published package's code cannot rely on finding."""

VERSION = "0.1.0"
