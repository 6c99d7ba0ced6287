"""What is defined while the server runs: metric types and presets, and how each process learns of it."""
