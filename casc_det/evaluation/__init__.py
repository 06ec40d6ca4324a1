"""Scoring: one pipeline for every row, so that a difference between two rows is the networks'.

truth       COCO JSON, VOC folder or dataset YAML (read_coco, read_voc, read_yaml) -> images with their objects
classes     match the classes of model and data set by name
settings    how networks are held against a data set; networks: which they are
detection   run float network, ANN and spiking network over images
folder      the run folder; resume: only the same run goes on in it; shard: one process among several
coco, voc   average precision; precision: its curve; bootstrap: how sure a difference is
scores      average precision of every row; costs, energy: what every row costs
report      table, CSV, figures
run         all of it
"""
