"""From experiments/ to trained and scored networks: what is run, in which order, and how far it is."""
