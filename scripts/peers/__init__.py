"""What scripts/benchmark_peers.py measures: one way of reading every layer in each process."""
