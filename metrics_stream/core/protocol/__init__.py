"""The WebSocket protocol: messages, codes, parsing, positions, prepared messages."""
