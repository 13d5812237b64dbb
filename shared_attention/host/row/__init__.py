"""A given reference as row 0 of everything that is sampled: the batch, its noise levels, its conditioning."""
