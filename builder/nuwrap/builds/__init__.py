"""From a function to its image: facts are gathered, a plan made, an engine carries it out, the image is checked."""
