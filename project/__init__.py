"""The Django project that hosts metrics_stream."""
