"""`trajectory.txt`: the camera path as the TUM RGB-D benchmark's tools read it."""

from __future__ import annotations

from pathlib import Path

from mast3r_engine.export.atomic import replace_when_done
from mast3r_engine.export.colmap_model import quaternion_of
from mast3r_engine.export.selection import exported_views, selection_notes
from mast3r_engine.reconstruction import Reconstruction


def write_trajectory(scene: Reconstruction, path: Path) -> None:
    """Write `timestamp tx ty tz qx qy qz qw`, camera-to-world; the photograph's number, from 0, stands for the time."""
    lines = ["# timestamp tx ty tz qx qy qz qw", "# camera to world, axes opencv; the timestamp is the photograph's number"]
    lines += [f"# {note}" for note in selection_notes(scene) if not note.startswith("renamed")]
    for view in exported_views(scene):
        w, x, y, z = quaternion_of(view.cam2world[:3, :3])
        values = " ".join(repr(float(value)) for value in (*view.cam2world[:3, 3], x, y, z, w))
        lines.append(f"{view.index} {values}")
    with replace_when_done(path) as temporary:
        temporary.write_text("\n".join([*lines, ""]), encoding="utf-8")
