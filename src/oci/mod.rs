//! What `oci-spec` lacks: reading with limits, and validation that reports every fault at once.
