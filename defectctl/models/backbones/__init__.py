"""Feature extractors written here, so that predicting need not import a model library."""
