"""Training: losses, stages, the one training loop, and resuming it."""
