"""Run folders of predict and demo: what the model finds in a source, as images, videos, labels and JSON."""
