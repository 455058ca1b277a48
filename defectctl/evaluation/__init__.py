"""From predictions to the per-image table, its metrics, and the files that show them."""
