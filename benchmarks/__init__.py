"""How long the project takes here, against plain code and against what the machine could do at best."""
