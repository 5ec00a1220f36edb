"""Runs a corpus through a model, in shards, by any number of workers; and opens what was written."""
