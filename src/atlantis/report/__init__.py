"""From a run's folder to what a person looks at: tables, figures, the animated map and the HTML page.

Everything here is a pure reader of the files that `train` and `probe` wrote (`run_data.py` loads them once).
Nothing is imported here, so that one part can be used without paying for the others.
"""
