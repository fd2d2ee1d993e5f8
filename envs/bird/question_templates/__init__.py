"""Templates of questions with the SQL that answers them, by difficulty."""
