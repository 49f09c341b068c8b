"""The runner of the notebooks, where each kernel is started alone and none is forked from a
template.
"""

import contextlib
import sys
from unittest import mock

from tools.validate import kernels, runner

with mock.patch.object(kernels, "template", lambda environment: contextlib.nullcontext()):
    sys.exit(runner.main())
