"""What the processes count and how it leaves them. Knows the names of things, nothing of Django, jobs or Redis."""
