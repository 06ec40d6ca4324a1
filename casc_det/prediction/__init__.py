"""Run folders of predict and demo."""
