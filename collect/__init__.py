"""Models in, trace files out. The only folder that imports torch and transformers."""
