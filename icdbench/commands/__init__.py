"""The commands, a file for each kind; heavy imports wait until a command needs them."""
