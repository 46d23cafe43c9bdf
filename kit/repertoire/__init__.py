"""The recorded repertoire: speech rendered beforehand, so that a default install can talk. `kit.speech` reads it.

``lines.json`` lists what there is, ``render.py`` makes it again.
"""
