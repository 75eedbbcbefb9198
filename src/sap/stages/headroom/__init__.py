"""Is there room above zero-shot on a domain?"""
