"""What verbs work out and print: agreement with a reference, times beside peers, statistics, checks of the machine."""
