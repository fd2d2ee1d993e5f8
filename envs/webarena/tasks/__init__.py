"""Templates of tasks by site, and the tasks that they generate."""
