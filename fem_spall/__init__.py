"""fem-spall: how strongly a lithium-filled crack focuses the plating current in a ceramic electrolyte."""

from importlib.metadata import version

__version__ = version("fem-spall")
