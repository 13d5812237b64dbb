"""The pictures of the help pages, of the templates and of the registry, and how pictures are laid out side by side."""
