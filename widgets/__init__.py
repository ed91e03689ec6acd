"""The job view in notebooks, on the dashboard and in reports. Only `view` and `controls` need ipywidgets."""
