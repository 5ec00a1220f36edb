"""The ways that scripts/benchmark_peers.py measures: each process has one way of reading every layer."""
