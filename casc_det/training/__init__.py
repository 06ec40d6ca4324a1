"""Training of CQ networks with Ultralytics' trainer.

Every module that imports Ultralytics imports `casc_det.yolo` before, which prepares it; `arguments` needs neither.
"""
