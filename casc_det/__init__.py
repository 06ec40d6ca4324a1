"""casc_det: YOLO detectors as spiking networks, converted without loss.

SpikingYOLO(weights).predict(source)    detect with a spiking network
convert(model)                          CQReLU network -> spiking graph and audit
CQReLU                                  the activation to train with
"""

__version__ = "0.1.0"
__all__ = ["CQReLU", "SpikingYOLO", "__version__", "convert"]


def __getattr__(name: str):  # torch is imported when the first of these is used
    if name == "CQReLU":
        from casc_det.activation import CQReLU

        return CQReLU
    if name == "SpikingYOLO":
        from casc_det.model import SpikingYOLO

        return SpikingYOLO
    if name == "convert":
        from casc_det.converter import convert

        return convert
    raise AttributeError(f"module 'casc_det' has no attribute '{name}'")
