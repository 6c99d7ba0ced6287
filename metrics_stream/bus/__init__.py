"""Both ends of the channel layer: publish to its groups, listen to them, reach every server process."""
