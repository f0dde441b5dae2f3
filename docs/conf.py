"""Settings of Sphinx for the site; `docs/build_site.py` gathers the pages and calls it."""

import graphengine

project = "graphengine"
author = "The graphengine developers"
release = version = graphengine.__version__
language = "en"

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
nitpicky = False
root_doc = "index"

html_theme = "furo"
html_title = f"graphengine {release}"
html_show_sphinx = False
html_copy_source = False
html_static_path = ["site.css"]
html_css_files = ["site.css"]

myst_heading_anchors = 4
autodoc_typehints = "signature"
autodoc_member_order = "bysource"
autodoc_default_options = {"exclude-members": "model_config"}
napoleon_google_docstring = False
