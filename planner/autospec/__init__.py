"""Training of the coefficient engines that are in `autonla.primitives.autospec`."""
