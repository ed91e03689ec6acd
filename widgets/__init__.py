"""The job view in notebooks, on the dashboard and in reports. `view` alone needs ipywidgets."""
