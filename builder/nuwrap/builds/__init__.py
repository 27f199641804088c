"""From a function to its image: facts are gathered, the plan is made, an engine carries it out, what came is checked."""
