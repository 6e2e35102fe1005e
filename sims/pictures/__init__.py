"""Pictures and animations of episodes, and the contact sheet of all systems."""
