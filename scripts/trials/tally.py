"""What came of the trials: counts by row and column, and the faults with how to see each again."""
import threading
import traceback
from collections import Counter, defaultdict
from concurrent.futures import ThreadPoolExecutor

# Kinds of faults that the page shows.
SHOWN = 40


class Tally:
    """The counts of one part. Threads may share it."""

    def __init__(self, part, title):
        self.part, self.title = part, title
        self.rows, self.faults, self.notes = defaultdict(Counter), defaultdict(list), []
        self.lock = threading.Lock()

    def count(self, row, column, number=1):
        with self.lock:
            self.rows[row][column] += number

    def fault(self, what, how):
        """Something that must not be. `what` is its kind; `how` names the trial that shows it."""
        with self.lock:
            self.faults[what].append(how)

    def note(self, text):
        with self.lock:
            self.notes.append(text)

    def total(self, column):
        return sum(row[column] for row in self.rows.values())

    def to_json(self):
        return {
            "title": self.title,
            "rows": {row: dict(columns) for row, columns in self.rows.items()},
            "faults": {what: {"count": len(hows), "shown_by": hows[:5]} for what, hows in sorted(self.faults.items())},
            "notes": self.notes,
        }


def spread(jobs, tally, trials, run):
    """Runs the trials, `jobs` at a time. One that fails itself is a fault, not the end of the others."""
    def guarded(each):
        try:
            run(each)
        except Exception:
            tally.fault("the trial itself failed", traceback.format_exc().strip()[-600:])

    with ThreadPoolExecutor(jobs) as pool:
        list(pool.map(guarded, trials))


def tables(rows):
    """The rows in tables, those together that share a column."""
    found = []
    for row in sorted(rows):
        shared = [table for table in found if any(rows[row].keys() & rows[other].keys() for other in table)]
        found = [table for table in found if table not in shared] + [[row, *(other for table in shared for other in table)]]
    return [sorted(table) for table in found]


def markdown(part):
    """The tables of a part's JSON, and its faults."""
    rows, text = part["rows"], f"## {part['title']}\n\n"
    for table in tables(rows):
        columns = list(dict.fromkeys(column for row in table for column in rows[row]))
        text += "| | " + " | ".join(columns) + " |\n|---" + "|---" * len(columns) + "|\n"
        for row in table:
            text += f"| {row} | " + " | ".join(cell(rows[row].get(column, "")) for column in columns) + " |\n"
        text += "\n"
    text += "".join(f"{note}\n\n" for note in part["notes"])
    faults = part["faults"]
    if not faults:
        return text + "No fault.\n"
    text += f"Faults, {sum(fault['count'] for fault in faults.values())} of {len(faults)} kinds:\n\n"
    for what, fault in list(faults.items())[:SHOWN]:
        text += f"- {fault['count']} × {what} (for example {fault['shown_by'][0]})\n"
    if len(faults) > SHOWN:
        text += f"- {len(faults) - SHOWN} more kinds are in `trials.json`\n"
    return text


def cell(value):
    return f"{value:,}" if isinstance(value, int) else str(value)
