"""Where targets look at their references: what is recorded while a set is sampled, and how it is shown."""
