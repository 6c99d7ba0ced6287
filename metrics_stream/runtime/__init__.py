"""What runs in a server process: wiring, watching the bus, statistics, workers."""
