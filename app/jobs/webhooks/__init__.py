"""Webhooks: who asked with a `callback_url` is told of the job's end, signed after https://www.standardwebhooks.com.

A delivery is a job of its own, made in the transaction that ends the job it speaks of: `creation` makes it, `delivery`
runs it, `event` says what is sent, `sender` sends it, `guard` decides where to.
"""
