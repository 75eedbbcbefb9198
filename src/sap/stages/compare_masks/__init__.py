"""Do the masks of one client agree across anchor draws and sizes?"""
