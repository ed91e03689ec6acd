"""The picture of a job, in notebooks, on the dashboard and in reports, made from its status alone.

`render` puts it together from `liveform`, parts that can be replaced, or `savedform`, which stays in a saved notebook;
`charts`, `format` and `summary` draw the parts, `text` is the form without graphics, and `figure` draws curves alone.
`page` is the live form in a browser, and `changes` says which parts are new. In a notebook, `view` keeps a picture in a
cell's output (`liveoutput`), and a page makes it live with `live.js`, which talks to the Jupyter server:
`jupyterserver`, with `conversation`, which decides what to say, and `following`, which follows jobs. `savednotebook`
brings the pictures in a notebook up to date when it is saved. `hover.js` shows values of curves, on both pages.
What a job does belongs in `elasticdl_nb.job`.
"""
