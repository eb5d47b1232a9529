"""Networks that other people trained: read from safetensors, never fetched.

outsiders.py those who look at rebuilt pictures
layers.py    feature extractors that can be cut short and made narrow
zoo.py       the architectures whose weights we know how to read
pool.py      the extractors in a folder, and what they were trained on"""
