"""Kills at random moments and full disks at every place that marnet writes to; then the work goes on.

    uv run python benchmarks/chaos.py               # 60 kills and all write sites
    uv run python benchmarks/chaos.py --kills 10 --sites weights --seed 3

prints a line per trial, writes the counts to `chaos.json` beside this file, and ends with exit code 1 if there was a
fault. It needs Linux; the full disks need root, because each is a small file system in memory that is mounted.

A kill is a SIGKILL to the process group of 'marnet train', 'train --overwrite' or 'compare' at a random time or before
a random change to a file; in half of the trials TMPDIR lies on another file system than the results. Afterwards the
command is resumed or started again, as its messages say. A fault is a result that differs from the one of an
undisturbed run in any bit but times, a command that cannot be gone on with, a traceback, or a file left half written.

A full disk is filled at the moment when a certain file is about to be written. A fault is an error that is not one
clear message with the file and a way out, another exit code than 1, lost weights or resume points, or a result that
differs once there is space again.
"""

import argparse
import json
import random
import shutil
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))
from chaos_commands import warm_up
from chaos_disks import SITES, run_site
from chaos_kills import KINDS, Undisturbed, make_undisturbed, run_trial

from marnet.runs.directory import describe_environment

MEMORY = Path("/dev/shm")  # another file system than that of most folders


def kill_all(count: int, *, seed: int, folder: Path, known: dict[str, Undisturbed]) -> dict[str, Any]:
    """Run the trials with kills, print a line for each, and return their counts."""
    counts: Counter[str] = Counter()
    phases: Counter[str] = Counter()
    for number in range(count):
        rng = random.Random(f"{seed}-{number}")
        kind, apart = KINDS[number % len(KINDS)], number // len(KINDS) % 2 == 0
        trial = folder / f"trial-{number}"
        trial.mkdir()
        with tempfile.TemporaryDirectory(prefix="chaos-", dir=MEMORY if apart else trial) as temporary:
            if apart and Path(temporary).stat().st_dev == trial.stat().st_dev:
                raise RuntimeError(f"{MEMORY} is on the same file system as {trial}.")
            found = run_trial(kind, rng, known, trial, Path(temporary))
        state = "FAULT " + "; ".join(found.faults) if found.faults else "equal"
        place = "TMPDIR apart" if apart else "TMPDIR beside"
        print(f"{number + 1}/{count} {kind}, {place}, killed after {found.phases}: {state}", flush=True)
        counts["trials"] += 1
        counts["equal"] += not found.faults
        counts["kills"] += found.kills
        counts["trials with TMPDIR on another file system"] += apart
        phases.update(f"{kind}: {phase}" for phase in found.phases)
        if not found.faults:
            shutil.rmtree(trial)
    return {**counts, "killed after": dict(sorted(phases.items()))}


def fill_all(names: list[str], *, folder: Path, table: Path, known: dict[str, Undisturbed]) -> dict[str, Any]:
    """Fill the disk at every write site, print a line for each, and return their states."""
    found = {}
    for number, name in enumerate(names, start=1):
        place = folder / f"site-{number}"
        place.mkdir()
        faults, message = run_site(SITES[name], place, table, known)
        state = "FAULT " + "; ".join(faults) if faults else "kept and gone on with"
        print(f"{number}/{len(names)} full disk at {name}: {state}\n    {message}", flush=True)
        found[name] = {"faults": faults, "message": message}
    good = sum(not each["faults"] for each in found.values())
    return {"sites": len(found), "kept and gone on with": good, "by site": found}


def main() -> None:
    """Read the arguments and run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=60, help="trials with kills")
    parser.add_argument("--sites", default="", help="only places where the disk is full with this in their names")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path(__file__).with_suffix(".json"))
    given = parser.parse_args()
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="chaos-") as name:
        folder = Path(name)
        table = warm_up(folder)
        known = make_undisturbed(folder, table)
        kills = kill_all(given.kills, seed=given.seed, folder=folder, known=known)
        names = [name for name in SITES if given.sites in name]
        disks = fill_all(names, folder=folder, table=table, known=known)
    settings = {"kills": given.kills, "sites": len(names), "seed": given.seed}
    environment = describe_environment(given.seed)
    content = {"settings": settings, "environment": environment, "kills": kills, "full disks": disks}
    content["seconds"] = round(time.monotonic() - began)
    given.out.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    faults = kills.get("trials", 0) - kills.get("equal", 0) + disks["sites"] - disks["kept and gone on with"]
    print(f"{kills.get('equal', 0)} of {given.kills} kills and {disks['kept and gone on with']} of {len(names)} sites")
    sys.exit(1 if faults else 0)


if __name__ == "__main__":
    main()
