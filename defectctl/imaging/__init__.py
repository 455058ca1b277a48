"""Pictures as arrays: one image reader, palette masks, connected components, boxes, synthetic surfaces; no torch."""
