"""Network dissection: encoders of images and words, similarities, labels of units."""
