"""A simulated stress test that publishes every metric type."""
