"""The names of the tiny models: the one thing of theirs that pytest asks for before it runs a test."""

NAMES = ["gpt2", "gptj", "llama", "gemma2", "opt", "opt_350m", "bloom"]
