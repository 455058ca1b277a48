"""The multi-task network on YOLOv5's encoder (Sensors 22:9845, 2022), and YOLOv5 itself."""
