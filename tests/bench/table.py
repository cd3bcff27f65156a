"""What was measured, as rows: kept with every single figure for JSON, printed as a table of medians."""
import dataclasses
import sys

from measure import median

SERVERS = ("mirrord", "nginx", "docker-registry", "upstream")
GIB = 1 << 30
MIB = 1 << 20


@dataclasses.dataclass
class Row:
    """One kind of work. figures, cpu, rss_bytes: {name of the server: one value per round}.

    The ratio is the median of mirrord's figures by that of `against`; `goal` is a text and `is_met` says of the
    ratio (or, where there is none, of the median) whether it is met.
    """
    work: str
    unit: str
    against: str = None
    goal: str = ""
    is_met: object = None
    cpu_unit: str = ""
    figures: dict = dataclasses.field(default_factory=dict)
    cpu: dict = dataclasses.field(default_factory=dict)
    rss_bytes: dict = dataclasses.field(default_factory=dict)
    note: str = ""

    def add(self, server, figure, cpu=None):
        self.figures.setdefault(server, []).append(figure)
        if cpu is not None:
            self.cpu.setdefault(server, []).append(cpu)

    def add_peak(self, server, n_bytes):
        self.rss_bytes[server] = max(n_bytes, self.rss_bytes.get(server, 0))

    def median(self, server):
        return median(self.figures.get(server))

    @property
    def ratio(self):
        """None where there is nothing to compare with."""
        if self.against is None or not self.median(self.against) or self.median("mirrord") is None:
            return None
        return self.median("mirrord") / self.median(self.against)

    @property
    def verdict(self):
        if self.is_met is None or self.median("mirrord") is None:
            return ""
        judged = self.ratio if self.against else self.median("mirrord")
        if judged is None:
            return ""
        return "met" if self.is_met(judged) else "MISSED"

    def as_json(self):
        return {
            "work": self.work, "unit": self.unit, "against": self.against, "ratio": self.ratio, "goal": self.goal,
            "verdict": self.verdict, "note": self.note, "figures": self.figures, "cpu_unit": self.cpu_unit,
            "cpu": self.cpu, "peak_rss_bytes": self.rss_bytes,
            "medians": {server: median(values) for server, values in self.figures.items()},
            "cpu_medians": {server: median(values) for server, values in self.cpu.items()},
        }


def short(value):
    """Three or four figures that matter."""
    if value is None:
        return ""
    if value == 0 or abs(value) >= 1000:
        return "%.0f" % value
    return "%.*f" % (0 if abs(value) >= 100 else 1 if abs(value) >= 10 else 2 if abs(value) >= 1 else 3, value)


def per_server(values, scale=1.0):
    """The values of the three servers between slashes; a dash where there is none."""
    found = [values.get(server) for server in SERVERS[:3]]
    while found and found[-1] is None:
        found.pop()
    return " / ".join("-" if value is None else short(value * scale) for value in found)


HEADINGS = ("work", "unit", *SERVERS, "ratio", "goal", "", "CPU", "CPU unit", "peak MiB")


def cells(row):
    cpu = {server: median(values) for server, values in row.cpu.items()}
    return (row.work, row.unit, *(short(row.median(server)) for server in SERVERS), short(row.ratio), row.goal,
            row.verdict, per_server(cpu), row.cpu_unit if cpu else "", per_server(row.rss_bytes, 1 / MIB))


def print_table(rows, out=sys.stdout):
    """In the form of Markdown, so that it can stand in a document as it is."""
    lines = [HEADINGS] + [cells(row) for row in rows]
    widths = [max(len(line[column]) for line in lines) for column in range(len(HEADINGS))]
    for n, line in enumerate(lines):
        print("| %s |" % " | ".join(cell.ljust(width) for cell, width in zip(line, widths)), file=out)
        if n == 0:
            print("|%s|" % "|".join("-" * (width + 2) for width in widths), file=out)
    print("\nCPU and peak MiB: mirrord / nginx / docker-registry.", file=out)
    for row in rows:
        if row.note:
            print("%s: %s" % (row.work, row.note), file=out)
