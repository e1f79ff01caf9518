//! Control groups: v1, hybrid and v2 behind one small face.
pub mod layout;
