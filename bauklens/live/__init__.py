"""The live page: a model in a browser, to type to, look at, change, and look at again."""
