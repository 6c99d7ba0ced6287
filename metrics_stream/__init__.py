"""Stream the metrics of stress tests to browsers and programs while the test runs."""
