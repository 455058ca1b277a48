"""From a checkpoint and images to masks, boxes and verdicts; the same code serves validation, evaluate and predict."""
