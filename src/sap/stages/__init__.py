"""The rooms of the pipeline, one for each stage. Their order is in sap.pipeline."""
