"""How well a set takes on one style, counted: what `python dev.py evaluate` runs.

`sets` says what is drawn, `variants` in which ways, `drawing` draws it through the host and the nodes (`full_sharing`
by itself), and `shelf` keeps it. `readings` and `layout` tell what the pictures show and where, `summary` makes numbers
with confidence intervals of that, `report` shows them, and `page` brings them to the pages for readers. `model_quality`
checks the icon model itself, without which none of it would mean anything.
"""
