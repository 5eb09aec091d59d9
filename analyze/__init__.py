"""Trace files in, polars frames out. No torch, no printing, no files written but the cache."""
