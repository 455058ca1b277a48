"""What the stored values of pixel masks mean."""
