"""Fits decoders to a model."""
