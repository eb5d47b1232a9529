"""Challenge: payloads that outsiders may attack, locked by hashes, and the scoring of what they answer.

folder.py   the public folder and the maker's secret: written whole, verified before anything is believed
make.py     people and a system to both
score.py    answers to figures, beside the floor
"""
