"""Methods of second-order systems and of bodies that attract each other."""
