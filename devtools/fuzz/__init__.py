"""Random graphs of the pack's nodes through one long-lived ComfyUI server: `python -m devtools.fuzz`."""
