"""Whether our strategies are the methods whose names they have: the papers' formulas and avalanche's code beside ours.

`python -m checks.agreement` compares them and writes a record of each suite. It needs avalanche-lib, which the project
does not install (requirements.txt). `python -m checks.agreement.page` makes docs/agreement.md of the records.
"""
