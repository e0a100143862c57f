"""`trajectory.txt`: the camera path as the TUM RGB-D benchmark's tools read it."""

from __future__ import annotations

from pathlib import Path

from mast3r_engine.export.atomic import replace_when_done
from mast3r_engine.export.colmap_model import quaternion_of
from mast3r_engine.export.selection import exported_views, selection_notes
from mast3r_engine.reconstruction import Reconstruction


def write_trajectory(scene: Reconstruction, path: Path) -> None:
    """Write `timestamp tx ty tz qx qy qz qw`, camera-to-world; the lines in the order of time.

    Where the time of a photograph is not known, the photographs' numbers, from 0, stand for all times.
    """
    times = {view.index: scene.timestamps[view.index] if scene.timestamps else None for view in exported_views(scene)}
    known = {index: time for index, time in times.items() if time is not None}
    what = "in seconds, as it was given" if len(known) == len(times) else "the photograph's number"
    lines = ["# timestamp tx ty tz qx qy qz qw", f"# camera to world, axes opencv; the timestamp is {what}"]
    lines += [f"# {note}" for note in selection_notes(scene) if not note.startswith("renamed")]
    for view in sorted(exported_views(scene), key=lambda view: _time_of(view.index, known, len(times))):
        w, x, y, z = quaternion_of(view.cam2world[:3, :3])
        values = " ".join(repr(float(value)) for value in (*view.cam2world[:3, 3], x, y, z, w))
        lines.append(f"{_time_of(view.index, known, len(times))!r} {values}")
    with replace_when_done(path) as temporary:
        temporary.write_text("\n".join([*lines, ""]), encoding="utf-8")


def _time_of(index: int, known: dict[int, float], count: int) -> float:
    return known[index] if len(known) == count else index
