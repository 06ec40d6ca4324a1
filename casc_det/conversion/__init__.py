"""From a captured graph to a spiking one."""
