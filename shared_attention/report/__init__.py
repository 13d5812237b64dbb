"""How alike the pictures of a set are, measured: one measure a file, in plain torch.

`pictures` takes in what the node is given; `oklab`, `palette`, `texture`, `composition` and `vision` measure; `outlier`
finds the picture that falls out; `measure` puts the measures of a set together, `wording` and `drawing` show them.
"""
