"""The truth exporter: says what Postgres and Redis hold, at scrape time, and keeps no count of its own."""
