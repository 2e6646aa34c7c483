"""Mails: what they say of batches that ended, and to whom they may go.

Only the function that delivers imports this: it takes longer to load than the rest of services.
"""
