"""What a person looks at: annotated images and figures."""
