"""From a trained model to a file that predicts without torch, written only where both agree."""
