//! Stories from facts.
