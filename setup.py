"""Nothing but what pyproject.toml cannot say: where the kernels' package lies."""

from setuptools import setup

setup(package_dir={"mast3r_kernels": "kernels/mast3r_kernels", "m3r_client": "clients/python/m3r_client"})
