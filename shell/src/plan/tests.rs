//! Plans of whole jobs.
