//! Carries a plan out: the runtime's side and the child's side, each one straight line.
