"""Rules of delivery: selection, pending metrics, aggregation, frames and their explanation."""
