"""Can domain and class be read from the features after pruning?"""
