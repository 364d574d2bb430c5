"""What digitnet explains: the numbers of each explanation, and its figures. The text for terminals is in console/.

A folder for each command; beside them is what they share.

Every number and every figure is computed from real tensors, and the tests compare it with an independent computation.
"""
