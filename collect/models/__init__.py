"""The registry of models: one file per family, one registered entry per model."""
