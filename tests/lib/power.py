"""Power cuts: what a disk would hold that keeps nothing but what was synced.

A file keeps the size that it had when it was synced last; a folder keeps the names that it had when it was synced last.
That is the least that POSIX promises; real file systems keep more.
"""
import os
import shutil
import subprocess

import pytest


def build(folder):
    """The library that notes what the daemon does."""
    source = os.path.join(os.path.dirname(os.path.abspath(__file__)), "power.c")
    library = os.path.join(str(folder), "power.so")
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        pytest.skip("no C compiler is here")
    subprocess.run([compiler, "-D_GNU_SOURCE", "-shared", "-fPIC", "-O1", "-o", library, source, "-ldl"], check=True)
    return library


class Disk:
    """Follows one daemon on one storage folder, and makes the folder that a power cut would leave."""

    def __init__(self, mirror, library, folder):
        self.mirror, self.folder, self.n_cuts = mirror, str(folder), 0
        mirror.settings["LD_PRELOAD"] = library
        self.begin()

    def begin(self):
        """What is there now is durable."""
        self.n_cuts += 1
        self.graves = os.path.join(self.folder, "graves-%d" % self.n_cuts)
        self.log = os.path.join(self.folder, "power-%d.log" % self.n_cuts)
        os.mkdir(self.graves)
        open(self.log, "w").close()
        self.mirror.settings.update({"POWER_LOG": self.log, "POWER_GRAVES": self.graves})
        self.root = os.stat(self.mirror.storage).st_ino
        self.sizes, self.names, self.durable = {}, {}, {}
        for folder, folders, files in os.walk(self.mirror.storage):
            inode = os.stat(folder).st_ino
            self.names[inode] = {name: os.stat(os.path.join(folder, name)).st_ino for name in folders + files}
            self.durable[inode] = dict(self.names[inode])
            self.sizes.update({self.names[inode][name]: os.path.getsize(os.path.join(folder, name)) for name in files})

    def replay(self):
        under_way, newest = {}, {}    # thread → (when it began, what was there); inode → when its last sync began
        with open(self.log) as log:
            for number, line in enumerate(log):
                what, first, second, third, name = line.rstrip("\n").split(" ", 4)
                first, second, third = int(first), int(second), int(third)
                if what == "add":
                    # What is in a new folder may be noted before the folder is.
                    if third:
                        self.names.setdefault(second, {})
                        self.durable.setdefault(second, {})
                    self.names.setdefault(first, {})[name] = second
                elif what == "del":
                    self.names.get(first, {}).pop(name, None)
                elif what == "sync":
                    under_way[second] = number, dict(self.names[first]) if first in self.names else third
                elif second in under_way and under_way[second][0] > newest.get(first, -1):
                    # One that began earlier and ends later takes nothing back.
                    newest[first], kept = under_way[second]
                    (self.durable if first in self.names else self.sizes)[first] = kept

    def contents(self):
        """{inode: where its bytes are}"""
        found = {int(name): os.path.join(self.graves, name) for name in os.listdir(self.graves)}
        for folder, _, files in os.walk(self.mirror.storage):
            for name in files:
                path = os.path.join(folder, name)
                found[os.stat(path).st_ino] = path
        return found

    def restore(self, inode, target, contents):
        os.mkdir(target)
        for name, child in self.durable[inode].items():
            path = os.path.join(target, name)
            if child in self.durable:
                self.restore(child, path, contents)
            else:
                with open(contents[child], "rb") as source, open(path, "wb") as output:
                    output.write(source.read(self.sizes.get(child, 0)))

    def cut(self, forgets_all=False):
        """Ends the daemon and starts it again on what is left."""
        self.mirror.kill()
        if not forgets_all:
            self.replay()
        target = os.path.join(self.folder, "after-%d" % self.n_cuts)
        self.restore(self.root, target, self.contents())
        self.mirror.storage = self.mirror.settings["STORAGE_PATH"] = target
        self.begin()
        self.mirror.check_storage()
        self.mirror.start()
