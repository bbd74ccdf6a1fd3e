"""A Django app of kinds that harm their worker: DOMAIN_APPS=ndvi,tests.faulty."""
