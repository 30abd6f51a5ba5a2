"""What comes in: images, outlines, concepts, printed figures, and where each file is from."""
