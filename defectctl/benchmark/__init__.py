"""How fast a model is, and what it costs."""
