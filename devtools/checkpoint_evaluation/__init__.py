"""How well sets take on one style with a checkpoint of the user's: `python dev.py evaluate --checkpoint NAME`.

The protocol is that of the paper (arXiv 2312.02133): a hundred styles with four objects each. `sets` says
what is drawn, `settings` how by default, `studio` draws it through the host and the nodes, `shelf` keeps it, `judges`
look at it with vision models of the user's, `measures` makes numbers of that, and `report` shows them.
"""
