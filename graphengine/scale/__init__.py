"""Work on more data, and in more processes, than one: the results have the same bits however it is divided."""
