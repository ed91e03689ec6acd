"""The picture of a job, in notebooks, on the dashboard and in reports, made from its status alone.

`render` puts it together from `liveform`, parts that can be replaced, or `savedform`, which stays in a saved notebook;
`charts`, `format` and `summary` draw the parts, `text` is the form without graphics. `view` shows the live form in a
notebook and `page` in a browser, and `changes` says which parts are new. `view` and `controls` alone need ipywidgets.
What a job does belongs in `elasticdl_nb.job`.
"""
