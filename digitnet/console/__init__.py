"""The only place that formats for people: notes and progress, tables and answers. What programs read is in reports.py.

stdout carries results, stderr everything else. Where there is no terminal, there is no colour and no moving bar.
"""
