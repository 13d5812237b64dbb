"""References that are no rows of a batch: the model runs over each alone, and what its layers have of it is kept."""
