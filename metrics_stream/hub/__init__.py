"""Turn metrics into frames, once per view; knows neither Django nor Channels nor an event loop."""
