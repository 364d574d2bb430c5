"""What ``digitnet explain step`` shows: one step of training on a network small enough to follow."""
