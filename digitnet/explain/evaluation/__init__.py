"""What ``digitnet eval --report`` writes: what was read wrongly, figures of what was counted, and a page."""
