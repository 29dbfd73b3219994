"""What the tests share. The first seven are independent of the library: they import nothing of autonla.

``doubledouble``  arithmetic with about 32 digits, in plain numpy
``truth``         what a solution achieves, measured in that arithmetic, with an error bar
``bars``          LAPACK's test ratios, each formula once
``spectra``       singular values of every shape
``matrices``      matrices of which something is known
``draws``         reproducible streams of random problems for the accuracy sweep
``backends``      numpy, torch and cupy as test parameters; memory layouts
``judge``         whether an answer keeps what its certificate says
``machine``       a synthetic hardware profile, so that decisions can be asserted
``fakes``         algorithms that fail in a chosen way
``certifying``    one call for each certificate
``gallery``       adversarial problems, each made from two numbers, and a judge of the answers
``damage``        documents of plain data with something else at some place
``faults``        kernels that fail at a chosen call
"""
