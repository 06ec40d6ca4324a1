"""Training of CQ networks with Ultralytics' trainer."""
