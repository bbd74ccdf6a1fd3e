"""`make bench`: how fast, beside bare Celery and a bare view, with the spread and what each figure costs."""
