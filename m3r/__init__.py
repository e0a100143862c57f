"""The command line. Every command imports what it needs when it runs: `m3r serve` never loads torch in its own process."""
