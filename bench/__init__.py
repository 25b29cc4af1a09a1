"""How fast Brim is on this machine: `python -m bench`, or `make bench`. Figures are for comparison within one run."""
