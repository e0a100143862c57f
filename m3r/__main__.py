"""`python -m m3r`."""

from m3r.main import main

main()
