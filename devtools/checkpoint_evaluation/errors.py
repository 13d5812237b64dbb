"""What is wrong with what the user asked for."""

from __future__ import annotations


class EvaluationError(Exception):
    """It cannot be done: one line that says what was given, what is needed and what to do."""
