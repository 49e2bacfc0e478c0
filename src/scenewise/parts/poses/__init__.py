"""Where photographs were taken from: poses of pictures and of films that come without any."""
