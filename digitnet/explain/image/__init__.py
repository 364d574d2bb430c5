"""What ``digitnet explain image`` shows: one picture on its way through a network, and why it is read so."""
