"""Bulk prediction: many pictures to answers in part files, over several starts and several processes."""
