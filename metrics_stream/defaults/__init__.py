"""What a new installation starts with, as data: presets and dashboards. `seed` writes them to the database."""
