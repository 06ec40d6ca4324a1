"""Every op of a graph: one file each, and one line here."""
# ruff: noqa: F401, I001  what is imported is what there is, in the order in which `describe` lists it

from casc_det.graph.ops.input import Input
from casc_det.graph.ops.conv import Conv
from casc_det.graph.ops.batch_norm import BatchNorm
from casc_det.graph.ops.activation import Activation
from casc_det.graph.ops.neuron import Neuron
from casc_det.graph.ops.max_pool import MaxPool
from casc_det.graph.ops.avg_pool import AvgPool
from casc_det.graph.ops.pointwise import Pointwise
from casc_det.graph.ops.add import Add
from casc_det.graph.ops.concat import Concat
from casc_det.graph.ops.upsample import Upsample
from casc_det.graph.ops.zero_pad import ZeroPad
from casc_det.graph.ops.slice import Slice
from casc_det.graph.ops.readout import Readout
from casc_det.graph.ops.unsupported import Unsupported

NODE_TYPES = {kind.__name__: kind for kind in list(vars().values()) if isinstance(kind, type)}
