"""What grows with the size of the work: the steps on one dataset (`datasets`), and a whole run on many nodes (`run`)."""
