"""Pretrained weights and what is done to them: finding, grouping, freezing, adapting, caching, measuring.

It knows no modality, no row format and no loop.
"""
