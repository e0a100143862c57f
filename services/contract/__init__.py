"""What API and worker agree on: models, states, task names, object keys. Reaches neither torch nor the engine."""
