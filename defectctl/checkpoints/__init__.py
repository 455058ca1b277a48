"""Trained models on disk: the contract in a weights file's header, the weights, and the folders of runs."""
