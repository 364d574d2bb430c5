"""Where digits come from: MNIST, a folder of one's own, and the strokes that are built in."""
