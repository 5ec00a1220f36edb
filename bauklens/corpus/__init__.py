"""A corpus through a model, in shards, by any number of workers; and what was written, opened."""
