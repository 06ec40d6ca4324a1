"""The network as data: ops, graphs of them, the walk that evaluates them, their laws, their file.

`from casc_det import graph as g` gives the node types and the two kinds of graphs.
"""
# ruff: noqa: F401, F403  what is imported is what `g` has

from casc_det.graph.graph import MOST_NODES, PIXEL_LEVELS, Graph, SpikingGraph, moved
from casc_det.graph.node import Node, Spiking, lacking, on_meta, settings, tensors, with_tensors
from casc_det.graph.ops import *
from casc_det.graph.walk import Rules, walk
