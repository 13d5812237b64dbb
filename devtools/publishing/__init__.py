"""From the checkout to the Comfy registry."""
