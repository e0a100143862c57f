"""Operations of the engine that are worth compiling: one folder per op, a shipped reference beside each kernel."""
