"""Problems to race on: embedded ones, one file each, and loaders for the user's own files."""
