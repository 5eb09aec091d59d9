"""Vendored JavaScript of the HTML report; see LICENSES.txt."""
