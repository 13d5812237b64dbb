"""The ComfyUI that the pack is developed on: fetched, found, served, asked, and loaded into a program's own process."""
