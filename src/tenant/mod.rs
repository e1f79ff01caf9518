//! What an operator thinks in. It only writes an OCI Spec and drives [`crate::container`].
