"""Recorded: payloads that somebody else made, attacked by the same adversaries under the same rules.

system.py    Recordings: people and what each system sent of them; System: what an adversary observes of one
columns.py   a file's payload as numbers, and the rows that hold none
files.py     payload files to Recordings
shipped.py   a bundle, whose own ONNX halves make the payloads
study.py     the study: which trials there are, and how one is run
"""
