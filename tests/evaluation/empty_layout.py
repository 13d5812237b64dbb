"""A layout of a set's pictures in which nothing is alike and nothing is twice."""

import numpy as np

from devtools.evaluation.layout import Layout
from devtools.evaluation.sets import TARGETS
from toy import icons

NOTHING = Layout(*np.zeros((2, 1 + TARGETS), np.float32), np.zeros((1 + TARGETS, len(icons.SHAPES)), np.int64))
