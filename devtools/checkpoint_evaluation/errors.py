"""What the user asked for cannot be done: one line that says what was given, what is needed and what to do."""

from __future__ import annotations


class EvaluationError(Exception):
    pass
