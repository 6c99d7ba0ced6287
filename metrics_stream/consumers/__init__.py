"""One WebSocket client: authentication, limits, session, recovery and replay."""
