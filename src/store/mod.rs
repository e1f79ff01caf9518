//! What lies on disk: where, in what format, under which lock.
