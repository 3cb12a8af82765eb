"""`python -m targets.cli`: the device's commands without the host's."""

import sys

from targets.cli import device_group
from targets.cli_errors import main_guard

if __name__ == "__main__":
    sys.exit(main_guard(device_group()))
