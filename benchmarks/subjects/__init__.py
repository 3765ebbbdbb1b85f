"""What is measured: models of every kind behind one interface, and what they are fed."""
