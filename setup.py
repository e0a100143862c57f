"""What pyproject.toml cannot say: where packages lie, and that the wheel carries compiled kernels, named for the processor."""

from __future__ import annotations

import sys
from pathlib import Path

from setuptools import setup
from setuptools.command.bdist_wheel import bdist_wheel
from setuptools.command.build_py import build_py

sys.path.insert(0, str(Path(__file__).parent / "kernels"))


class BuildWithKernels(build_py):
    """Without a compiler the wheel carries the references alone, and says so."""

    def run(self) -> None:
        super().run()
        if self.editable_mode:
            return  # `python -m mast3r_kernels.build` puts them beside their sources
        from mast3r_kernels.build import BuildError, build
        from mast3r_kernels.native import NATIVE_OPS

        for op in NATIVE_OPS:
            try:
                build(op, folder=Path(self.build_lib) / "mast3r_kernels" / op.name)
            except BuildError as error:
                self.warn(f"the wheel goes without the compiled kernel {op.name}: {error}")


class WheelOfThisPlatform(bdist_wheel):
    """The kernels are called through ctypes: any Python 3, but one kind of processor and system."""

    def get_tag(self) -> tuple[str, str, str]:
        compiled = any(Path(self.bdist_dir).rglob("*.so")) if self.bdist_dir else False
        self.root_is_pure = not compiled
        _, _, platform = super().get_tag()
        return "py3", "none", platform


setup(
    package_dir={"mast3r_kernels": "kernels/mast3r_kernels", "m3r_client": "clients/python/m3r_client"},
    cmdclass={"build_py": BuildWithKernels, "bdist_wheel": WheelOfThisPlatform},
)
