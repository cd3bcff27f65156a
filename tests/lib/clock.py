"""A wall clock that tests set while the daemon runs, so that tags grow old without anybody waiting."""
import os
import shutil
import struct
import subprocess
import time

import pytest

DAY, YEAR = 86400, 365 * 86400


def build(folder):
    """The library that shifts the daemon's clock."""
    source = os.path.join(os.path.dirname(os.path.abspath(__file__)), "clock.c")
    library = os.path.join(str(folder), "clock.so")
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        pytest.skip("no C compiler is here")
    subprocess.run([compiler, "-D_GNU_SOURCE", "-shared", "-fPIC", "-O1", "-o", library, source, "-ldl"], check=True)
    return library


class Clock:
    """settings: for make_mirror. The shift stays over restarts."""

    def __init__(self, folder, library):
        self.path = os.path.join(str(folder), "clock")
        self.shift_s = self.still_at_s = 0
        with open(self.path, "wb") as output:
            output.write(self.packed())
        self.settings = {"LD_PRELOAD": library, "CLOCK_FILE": self.path}

    def packed(self):
        return struct.pack("=qq", self.shift_s, self.still_at_s)

    def write(self):
        # In place: the daemon has it mapped.
        with open(self.path, "r+b") as output:
            output.write(self.packed())

    def move(self, seconds):
        self.shift_s += seconds
        self.write()

    def stop(self):
        """From now on it stands still but when it is moved: ages are exact, however long the machine takes."""
        self.still_at_s = int(time.time())
        self.write()
