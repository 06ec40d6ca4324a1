"""Scoring: one pipeline for every row, so that a difference between two rows is the networks'.

truth      COCO JSON, VOC folder or dataset YAML -> images with boxes
classes    match the classes of model and data set by name
detection  run float network, ANN and spiking network over the images, resumably, on one or more processes
coco, voc  average precision
energy     operations and energy of each row
report     table, CSV, JSON, figures
"""
