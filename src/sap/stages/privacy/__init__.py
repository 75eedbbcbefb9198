"""Does an upload tell who was in the training data?"""
