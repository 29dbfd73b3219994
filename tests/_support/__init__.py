"""What the tests share, independent of the library: nothing in here imports autonla.

``doubledouble``  arithmetic with about 32 digits, in plain numpy
``truth``         what a solution achieves, measured in that arithmetic, with an error bar
``bars``          LAPACK's test ratios, each formula once
``spectra``       singular values of every shape
``matrices``      matrices of which something is known
``draws``         reproducible streams of random problems for the accuracy sweep
``backends``      numpy, torch and cupy as test parameters; memory layouts
"""
