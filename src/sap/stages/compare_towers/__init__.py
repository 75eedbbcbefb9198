"""Do the clients' updates conflict more in the visual tower than in the text tower?"""
