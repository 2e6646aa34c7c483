"""One module a queue, each run in its own environment; see `benchmarks.peers.driver`."""
