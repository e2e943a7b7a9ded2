"""Papers on learning rate schedules."""
