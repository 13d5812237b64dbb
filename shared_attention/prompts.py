"""The prompts of a set: one a line, the first describes the reference, one style for all."""

from __future__ import annotations

PLACEHOLDER = "{prompt}"


def parse_prompts(text: str, style: str = "") -> list[str]:
    """The prompts in `text`, one a line, each with the style; blank lines and surrounding space are ignored.

    A style that contains `{prompt}` is a template, any other is appended after a comma. Raises ValueError where no line
    has a prompt.
    """
    lines = text.splitlines() if isinstance(text, str) else []  # over the API it may be anything
    prompts = [line.strip() for line in lines if line.strip()]
    if not prompts:
        raise ValueError(
            "There is no prompt. Write one prompt a line: the first describes the reference image, "
            "each further line an image that takes on its style."
        )
    return [_with_style(prompt, style.strip()) for prompt in prompts]


def _with_style(prompt: str, style: str) -> str:
    if PLACEHOLDER in style:
        return style.replace(PLACEHOLDER, prompt)
    return f"{prompt}, {style}" if style else prompt
