"""What ``digitnet explain unit`` shows: linear units and dense layers, in numbers and figures."""
