"""How well a set takes on one style, counted: what `python dev.py evaluate` runs.

`sets` says what is drawn, `variants` in which ways, `drawing` draws it through the host and the nodes, `readings` tells
what the pictures show, `summary` makes numbers with confidence intervals of that, `report` shows them, and
`model_quality` checks the icon model itself, without which none of it would mean anything.
"""
