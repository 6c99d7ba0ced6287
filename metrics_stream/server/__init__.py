"""uvicorn protocol classes, what the edge of the server refuses, and the supervisor of worker processes."""
