"""Learned coefficient engines: from what a probe has seen of a spectrum to a polynomial. Inference only, in numpy.

- `PaperEngine`: AutoSpec's engine as its paper has it
"""

from .paper import LAYERS as LAYERS
from .paper import Backbone as Backbone
from .paper import EigenEmbedding as EigenEmbedding
from .paper import LinearSystemEmbedding as LinearSystemEmbedding
from .paper import PaperEngine as PaperEngine
from .paper import window as window
