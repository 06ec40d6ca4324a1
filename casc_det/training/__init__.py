"""Training of CQ networks with Ultralytics' trainer."""

import casc_det.yolo  # noqa: F401  prepares Ultralytics before any module of this room imports it
