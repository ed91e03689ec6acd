"""Which folder holds which package: see CONTRIBUTING.md, "Layout"."""

from setuptools import find_packages, setup

FOLDERS = {
    "elasticdl_nb": "elasticdl_nb",
    "elasticdl_nb.magics": "magics",
    "elasticdl_nb.widgets": "widgets",
    "elasticdl_nb.runtime": "runtime",
    "elasticdl_nb.model_zoo": "model_zoo",
    "elasticdl": "elasticdl_nb/compat",
    "elasticdl_preprocessing": "elasticdl_nb/compat_preprocessing",
}

packages = []
for name, folder in FOLDERS.items():
    packages.append(name)
    packages += [f"{name}.{package}" for package in find_packages(folder) if not package.startswith("compat")]

setup(packages=packages, package_dir=FOLDERS)
